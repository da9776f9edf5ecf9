"""The numbers of a CPU profile are right: the sum of all samples is the CPU time that the kernel
accounts to the process in the same window, within 5 %, and shares are those that the program burns.

    cpu_right.py one|eight|storm|sleepy|blocked [SECONDS] [HZ]
    cpu_right.py rates SECONDS HZ...      each asked for, as whoever runs this and as nobody, of a program at
                                          user level and of one that is half in system calls: within 3 %
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SUPPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support")
sys.path.insert(0, SUPPORT)
from cpu_profile import CpuClock, Profile, go_tool  # noqa: E402

LOAD = os.environ.get("COPPER_BUILD", ".") + "/tests/cpu_load"
TOLERANCE = 0.05
POINTS = 3.0
SAMPLES_MIN = 4000
ROUNDS_MAX = 15
SHARES = {"burn_sixty": 60, "burn_thirty": 30, "burn_ten": 10}


def take(mode, seconds, hz, path, prefix=(), output=None):
    process = subprocess.Popen([*prefix, LOAD, mode, str(seconds), str(hz), path], stdout=output)
    clock = CpuClock(process.pid)
    try:
        status = process.wait(timeout=seconds + 60)
    finally:
        process.kill()
    clock.stop()
    if status:
        sys.exit(f"cpu_load ended with {status}")
    profile = Profile(path)
    return profile, clock.between(profile.start_ns, profile.duration_s)


def check_sum(profile, kernel_ns):
    got = profile.total_ns()
    print(f"samples {got / 1e9:.3f} s, kernel {kernel_ns / 1e9:.3f} s: "
          f"{100 * (got / kernel_ns - 1):+.2f} %")
    return [] if abs(got / kernel_ns - 1) <= TOLERANCE else ["the sum is off"]


def check_shares(profiles):
    samples = sum(p.total_count() for p in profiles)
    total = sum(p.flat(f) for f in SHARES for p in profiles)
    errors = []
    for function, points in SHARES.items():
        got = 100 * sum(p.flat(function) for p in profiles) / total
        print(f"{function}: {got:.2f} % of {samples} samples, should be {points}")
        if abs(got - points) > POINTS:
            errors.append(f"{function} is off")
    if samples < SAMPLES_MIN:
        errors.append(f"only {samples} samples")
    return errors


def check_blocked(profile, kernel_ns):
    """Two threads burn, one cannot be sampled: it is named, and nothing is made up for it."""
    got = profile.total_ns()
    print(f"samples {got / 1e9:.3f} s of {kernel_ns / 1e9:.3f} s")
    errors = []
    if not any("(deaf) blocks signal" in c for c in profile.comments):
        errors.append("the thread that blocks the signal is not named in a comment")
    if profile.cumulative("burn_blocked"):
        errors.append("samples of a thread that blocks the signal")
    if not 0.2 < got / kernel_ns < 0.8:
        errors.append("one of two threads should be about half")
    return errors


# --- rates above the kernel's tick ---
RATE_TOLERANCE = 0.03
RATE_EDGE_NS = 10e6   # a tick at each end of the window
RATE_POINTS = 4       # standard errors of a share that is sampled at the tick
DELIVERED = 0.8       # of what user level should get
SHARES_MIN_S = 1      # of CPU time: a crowded machine gives it in slices of a tick, which are not random
USED_MIN_S = 0.2      # of CPU time; with less, sums hang on a few ticks
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]


def users():
    """who -> how to run a program as them"""
    known = {"self": []}
    can = os.geteuid() == 0 and shutil.which("setpriv") and subprocess.run(
        [*NOBODY, "test", "-x", LOAD], check=False).returncode == 0
    return {**known, "nobody": NOBODY} if can else known


def number(profile, pattern):
    found = [re.search(pattern, c) for c in profile.comments]
    return next((float(f[1]) for f in found if f), None)


def check_delivered(profile, hz):
    """User level gets the rate asked for, or the profile says why not."""
    tick = number(profile, r"kernel tick (\d+) Hz")
    if hz <= tick:
        return []
    if any(re.match(r"# source: all threads by timers .*perf_event_open: \w", c)
           for c in profile.comments):
        return []
    user = number(profile, r"# source: perf events .* at user level, ([\d.]+) s")
    used = number(profile, r"# cpu time: ([\d.]+) s")
    delivered = number(profile, r"delivered ([\d.]+) signals")
    if user is None:
        return ["neither perf events nor why not"]
    expected = hz * user / used
    print(f"delivered {delivered} signals in a CPU second, {expected:.0f} at user level asked for")
    return [] if delivered >= DELIVERED * expected else ["too few signals"]


def check_half(profile, output):
    """System calls have the share that the program measured itself."""
    user, system = map(int, re.search(r"user (\d+), system (\d+)", output).groups())
    right = system / (user + system)
    got = profile.cumulative("read_zeros") / profile.total_ns()
    ticks = profile.total_ns() * number(profile, r"kernel tick (\d+) Hz") / 1e9
    margin = 0.03 + RATE_POINTS * (right * (1 - right) / max(ticks, 1)) ** 0.5
    print(f"system calls: {100 * got:.1f} %, should be {100 * right:.1f} +- {100 * margin:.1f}")
    return [] if abs(got - right) <= margin else ["the share of system calls is off"]


def check_rate(who, mode, seconds, hz, more=3):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        with open(f"{folder}/out", "w+", encoding="utf-8") as output:
            profile, kernel_ns = take(mode, seconds, hz, f"{folder}/cpu.pb.gz", users()[who], output)
            output.seek(0)
            text = output.read()
    got = profile.total_ns()
    # the kernel's clock for the process, without threads of the profiler's own
    right = 1e9 * number(profile, r"# cpu time: ([\d.]+) s by the kernel")
    print(f"{who} {mode} {hz} Hz: samples {got / 1e9:.3f} s, kernel {right / 1e9:.3f} s: "
          f"{100 * (got / max(right, 1) - 1):+.2f} %, with the profiler's threads {kernel_ns / 1e9:.3f} s")
    if right < USED_MIN_S * 1e9: # a crowded machine: again, and for longer
        return check_rate(who, mode, 2 * seconds, hz, more - 1) if more else []
    errors = profile.check() + check_delivered(profile, hz)
    if abs(got - right) > RATE_TOLERANCE * right + RATE_EDGE_NS:
        errors.append("the sum is off")
    if mode == "half" and right >= SHARES_MIN_S * 1e9:
        errors += check_half(profile, text)
    if errors:
        print("\n".join(profile.comments))
    return [f"{who} {mode} {hz} Hz: {e}" for e in errors]


def rates(seconds, all_hz):
    errors = [e for hz in all_hz for mode in ("one", "half") for who in users()
              for e in check_rate(who, mode, seconds, hz)]
    print("\n".join(errors))
    return 1 if errors else 0


def main():
    if not go_tool():
        print("no go tool")
        return 77
    mode = sys.argv[1]
    if mode == "rates":
        return rates(float(sys.argv[2]), [int(hz) for hz in sys.argv[3:]])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 6
    hz = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/cpu.pb.gz"
        profile, kernel_ns = take(mode, seconds, hz, path)
        profiles = [profile]
        # a busy machine gives less CPU time than there are seconds: take more then
        while (mode == "eight" and sum(p.total_count() for p in profiles) < SAMPLES_MIN
               and len(profiles) < ROUNDS_MAX):
            profiles.append(take(mode, seconds, hz, path)[0])
    errors = profile.check()
    if mode == "blocked":
        errors += check_blocked(profile, kernel_ns)
    else:
        errors += check_sum(profile, kernel_ns)
        bad, all_ns = profile.incomplete()
        print(f"complete stacks: {100 * (1 - bad / all_ns):.2f} %")
        if bad > 0.01 * all_ns:
            errors.append("too many incomplete stacks")
    if mode == "eight":
        errors += check_shares(profiles)
    print("\n".join(profile.comments + errors))
    return 1 if errors else 0


sys.exit(main())
