"""Reads CPU profiles through `go tool pprof -raw`, the judge of our bytes, and the kernel's clock of a
process. Shared by the scripts beside it and by tests/preload."""
import bisect
import os
import re
import shutil
import subprocess
import threading
import time


def go_tool():
    """The command for `go`, or None."""
    return shutil.which("go") or next(
        (p for p in ["/usr/local/go/bin/go"] if os.path.exists(p)), None)


class Profile:
    """samples: [(count, ns, [location ids, leaf first], {label: [values]})];
    locations: id -> [function names, innermost inlined first]."""

    def __init__(self, path):
        result = subprocess.run([go_tool(), "tool", "pprof", "-raw", path], capture_output=True,
                                text=True, check=True, timeout=120)
        self.warnings = [line for line in result.stderr.splitlines() if line.strip()]
        self.comments, self.samples, self.locations, self.mappings = [], [], {}, []
        self.start_ns = self.duration_s = self.period = None
        section = None
        for line in result.stdout.splitlines():
            if line in ("Samples:", "Locations", "Mappings"):
                section = line
            elif section is None:
                self._header(line)
            elif section == "Samples:":
                self._sample(line)
            elif section == "Locations":
                self._location(line)
            else:
                self.mappings.append(line)

    def _header(self, line):
        key, _, value = line.partition(": ")
        if key == "Comment":
            self.comments.append(value)
        elif key == "Period":
            self.period = int(value)
        elif key == "Duration":
            minutes, _, seconds = value.split()[0].rpartition("m") # cut to four characters by the tool
            self.duration_s = 60 * float(minutes or 0) + float(seconds.rstrip("s") or 0)
        elif key == "Time":
            stamp, fraction = re.match(r"([-\d]+ [:\d]+)(\.\d+)? \+0000", value).groups()
            seconds = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) - time.timezone
            self.start_ns = int(seconds) * 10**9 + int(float(fraction or 0) * 1e9)

    def _sample(self, line):
        found = re.match(r"\s+(\d+)\s+(\d+): ([\d ]*)$", line)
        if found:
            self.samples.append((int(found[1]), int(found[2]),
                                 [int(i) for i in found[3].split()], {}))
        else:
            for key, values in re.findall(r"(\S+?):\[(.*?)\]", line):
                if self.samples:
                    self.samples[-1][3][key] = values.split(" ")

    def _location(self, line):
        found = re.match(r"\s+(\d+): 0x[0-9a-f]+ (?:M=\d+ )?(.*)$", line)
        if found:
            self._last = self.locations.setdefault(int(found[1]), [])
            line = found[2]
        name = re.match(r"\s*(.+?) (?:\S*:\d+(?::\d+)? s=\d+|\?\?.*)?\s*(?:\(.*\))?$", line + " ")
        if name and name[1]:
            self._last.append(name[1].split(" ")[0])

    def total_ns(self):
        return sum(ns for _, ns, _, _ in self.samples)

    def total_count(self):
        return sum(count for count, _, _, _ in self.samples)

    def flat(self, function):
        return sum(ns for _, ns, stack, _ in self.samples
                   if stack and function in self.locations.get(stack[0], [])[:1])

    def cumulative(self, function):
        return sum(ns for _, ns, stack, _ in self.samples
                   if any(function in self.locations.get(i, []) for i in stack))

    def roots(self):
        """outermost function -> ns"""
        roots = {}
        for _, ns, stack, _ in self.samples:
            name = self.locations.get(stack[-1], ["?"])[-1] if stack else "?"
            roots[name] = roots.get(name, 0) + ns
        return roots

    def incomplete(self):
        """(incomplete ns, ns that should have been there). Dropped samples count as incomplete."""
        cut = sum(ns for _, ns, _, labels in self.samples if "cut" in labels.get("stack", []))
        dropped = 0
        for comment in self.comments:
            found = re.match(r"# incomplete: (\d+) ns dropped", comment)
            dropped += int(found[1]) if found else 0
        return cut + dropped, self.total_ns() + dropped

    def unnamed_share(self):
        total = self.total_ns()
        bare = sum(ns for _, ns, stack, _ in self.samples if stack and
                   re.search(r"\+0x[0-9a-f]+$", self.locations.get(stack[0], [""])[0]))
        return bare / total if total else 0.0

    def check(self):
        """What must hold of every CPU profile. A list of complaints."""
        errors = list(self.warnings)
        errors += [f"value {ns} is not {count} x {self.period}" for count, ns, _, _ in self.samples
                   if ns != count * self.period]
        errors += [f"location {i} has no name" for i, names in self.locations.items() if not names]
        return errors


class CpuClock:
    """The CPU time of a process by the kernel, as a function of wall time: a thread of ours reads its
    clock all the time and interpolates between. Dead threads are in it."""

    def __init__(self, pid):
        self.clock = ((~pid) << 3) | 2
        self.stamps, self.values, self.is_over = [], [], False
        self.read()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def read(self):
        before = time.time_ns()
        value = time.clock_gettime_ns(self.clock)
        self.stamps.append((before + time.time_ns()) // 2)
        self.values.append(value)

    def follow(self):
        while not self.is_over:
            try:
                self.read()
            except OSError:
                return
            time.sleep(0.005)

    def stop(self):
        self.is_over = True
        self.thread.join()

    def at(self, wall_ns):
        i = min(max(bisect.bisect(self.stamps, wall_ns), 1), len(self.stamps) - 1)
        x0, x1, y0, y1 = self.stamps[i - 1], self.stamps[i], self.values[i - 1], self.values[i]
        return y0 + (y1 - y0) * (wall_ns - x0) / max(x1 - x0, 1)

    def between(self, start_ns, duration_s):
        return self.at(start_ns + int(duration_s * 1e9)) - self.at(start_ns)
