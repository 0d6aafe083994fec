#!/usr/bin/env python3
"""What rustc and clippy do not see: functions that are too long, files that import each other in a circle, paths in comments that
do not exist, dependencies that nothing uses, commit subjects that are too wide. `make test` runs it; so can a person."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 70
SUBJECT_MAX = 72
SUBJECTS = 20
# Longer than the limit, and why that is better than cutting them up.
LONG = {
    ("book/src/enter.rs", "check"): "the checks of an order in the order that docs/reject-codes.md gives them",
    ("book/src/state.rs", "restore"): "a layout, field after field",
    ("book/src/state.rs", "order"): "a layout, field after field",
    ("engine/src/cli/journal.rs", "replay"): "a report, line after line",
    ("engine/src/log/reopen.rs", "assemble"): "each step undoes what the next must not find; the order is the point",
    ("engine/src/session/login.rs", "admit"): "what a login must pass, in order",
    ("engine/src/shard/entry.rs", "replace"): "the checks of a replacement in the order that docs/reject-codes.md gives them",
    ("engine/src/shard/state.rs", "write_state"): "a layout, field after field",
    ("engine/src/simulation/engine.rs", "start"): "an engine's parts, one after the other",
    ("loadgen/src/replay/itch.rs", "next_event"): "one arm for each message",
    ("loadgen/src/replay/report.rs", "file_table"): "a table, row after row",
    ("loadgen/src/report/assemble.rs", "collect"): "a report, field after field",
    ("netio/src/echo.rs", "drive_counted"): "a loop whose state has no meaning outside of it",
}
# What is measured against, not what runs.
SNAPSHOTS = "bench-before"

problems: list[str] = []


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def without_tests(text: str) -> str:
    return re.split(r"^#\[cfg\(test\)\]\nmod \w+ \{", text, maxsplit=1, flags=re.M)[0]


def functions(text: str):
    """Name and length of each function, by rustfmt's indentation."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        start = re.match(r"( *)(?:pub(?:\([\w: ]+\))? )?(?:const )?(?:unsafe )?(?:extern \"C\" )?fn (\w+)", line)
        if start:
            end = next((n for n in range(number, len(lines)) if lines[n].rstrip() in (start[1] + "}", start[1] + "};")), None)
            one_line = line.rstrip().endswith(("}", ";"))
            if end is not None and not one_line:
                yield start[2], end - number + 1


def check_lengths(sources: list[Path]) -> None:
    for path in sources:
        name = str(path.relative_to(ROOT))
        for function, length in functions(without_tests(path.read_text())):
            if length > LINES_MAX and (name, function) not in LONG:
                problems.append(f"{name}: fn {function} has {length} lines, at most {LINES_MAX}")


def module_of(path: Path, root: Path) -> tuple[str, ...]:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return tuple(parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts)


USE = re.compile(r"^(?:pub(?:\(\w+\))? )?use ([^;]+);", re.M)


def leaves(tree: str) -> list[str]:
    """`a::{b, c::{d, e}}` as a::b, a::c::d, a::c::e."""
    head, brace, rest = tree.partition("{")
    if not brace:
        return [tree.strip()]
    depth, item, items = 0, "", []
    for char in rest[: rest.rfind("}")]:
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += char
    return [leaf for part in [*items, item] if part.strip() for leaf in leaves(head.strip() + part.strip())]


def check_circles(crate: Path) -> None:
    """Edges: a file to the file that defines what it uses. What a `mod.rs` merely passes on (`pub use`) is followed to its origin."""
    files = {module_of(path, crate / "src"): path for path in (crate / "src").rglob("*.rs") if "tests" not in path.stem}
    texts = {module: without_tests(path.read_text()) for module, path in files.items()}

    def absolute(module: tuple[str, ...], leaf: str) -> tuple[str, ...] | None:
        parts = re.sub(r" as \w+$", "", leaf.strip()).split("::")
        base = list(module)
        if parts[0] == "crate":
            return tuple(parts[1:])
        if parts[0] in ("super", "self"):
            while parts and parts[0] in ("super", "self"):
                if parts.pop(0) == "super":
                    base.pop()
            return tuple(base + parts)
        return tuple([*base, *parts]) if tuple([*base, parts[0]]) in files else None

    passed_on: dict[tuple[str, ...], tuple[str, ...]] = {}
    for module, text in texts.items():
        for use in re.findall(r"^pub(?:\(\w+\))? use ([^;]+);", text, re.M):
            for leaf in leaves(use):
                target = absolute(module, leaf)
                if target:
                    passed_on[(*module, leaf.strip().split("::")[-1].split(" as ")[-1])] = target

    def origin(target: tuple[str, ...]) -> tuple[str, ...] | None:
        for _ in range(8):
            if target not in passed_on:
                break
            target = passed_on[target]
        for length in range(len(target), -1, -1):
            if target[:length] in files:
                return target[:length]
        return None

    edges = {module: set() for module in files}
    for module, text in texts.items():
        for use in re.findall(r"^use ([^;]+);", text, re.M):
            for leaf in leaves(use):
                found = (target := absolute(module, leaf)) and origin(target)
                if found is not None and found != module and found != ():
                    edges[module].add(found)
    for one in sorted(edges):
        for other in sorted(edges[one]):
            pair = frozenset({str(files[one].relative_to(ROOT)), str(files[other].relative_to(ROOT))})
            if one < other and one in edges[other]:
                problems.append(f"{' and '.join(sorted(pair))} import each other")


def check_paths() -> None:
    known = [str(path.relative_to(ROOT)) for path in tracked()]
    sources = [*tracked("*.rs", "*.c", "*.sh", "*.py"), ROOT / "ARCHITECTURE.md", ROOT / "README.md", *tracked("docs/*.md")]
    for path in sources:
        name = str(path.relative_to(ROOT))
        if name == "scripts/tidy.py":
            continue
        for line in path.read_text(errors="replace").splitlines():
            if path.suffix not in (".md", ".sh", ".py") and not line.lstrip().startswith(("//", "*", "/*")):
                continue
            for cited in re.findall(r"`([\w./-]+/[\w.-]+\.(?:rs|c|h|md|sh|toml|py))`", line):
                cited = cited.removeprefix("./")
                if cited.startswith(("/", "target/", "..")) or any(k == cited or k.endswith("/" + cited) for k in known):
                    continue
                problems.append(f"{name}: names `{cited}`, which does not exist")


def check_dependencies(crate: Path) -> None:
    manifest = (crate / "Cargo.toml").read_text()
    text = "\n".join(path.read_text() for path in crate.rglob("*.rs") if "target" not in path.parts)
    for section in re.findall(r"^\[(?:dev-|build-)?dependencies\]\n(.*?)(?=^\[|\Z)", manifest, re.M | re.S):
        for name in re.findall(r"^([\w-]+)[ .]*(?:workspace)?.*=", section, re.M):
            if not re.search(rf"\b{name.replace('-', '_')}\b", text):
                problems.append(f"{crate.name}/Cargo.toml: nothing uses {name}")


def check_subjects() -> None:
    log = subprocess.run(["git", "log", f"-{SUBJECTS}", "--no-merges", "--format=%h %s"], cwd=ROOT, capture_output=True, text=True, check=False)
    for line in log.stdout.splitlines():
        commit, _, subject = line.partition(" ")
        if len(subject) > SUBJECT_MAX:
            problems.append(f"commit {commit}: its subject has {len(subject)} columns, at most {SUBJECT_MAX}")


def main() -> int:
    crates = [path.parent for path in tracked("*Cargo.toml") if (path.parent / "src").is_dir() and not {"interop", SNAPSHOTS} & set(path.parts)]
    own = [path for path in tracked("*.rs") if not {"tests", "benches", "examples", "bench-rivals", SNAPSHOTS} & set(path.relative_to(ROOT).parts) and "tests" not in path.stem]
    check_lengths(own)
    for crate in crates:
        check_circles(crate)
        check_dependencies(crate)
    check_paths()
    check_subjects()
    for problem in problems:
        print(problem)
    print(f"tidy: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
