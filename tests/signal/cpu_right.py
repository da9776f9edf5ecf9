"""The numbers of a CPU profile are right: the sum of all samples is the CPU time that the kernel
accounts to the process in the same window, within 5 %, and shares are those that the program burns.

    cpu_right.py one|eight|storm|sleepy|blocked [SECONDS] [HZ]
"""
import os
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


def take(mode, seconds, hz, path):
    process = subprocess.Popen([LOAD, mode, str(seconds), str(hz), path])
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


def main():
    if not go_tool():
        print("no go tool")
        return 77
    mode = sys.argv[1]
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
