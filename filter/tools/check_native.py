"""Checks what a dynamic module asks of the machine it is loaded on, and what it gives Envoy:

    check_native.py libsentry_filter.so GLIBC [ENVOY]

It may need nothing but glibc, and none newer than GLIBC; it exports the hooks of Envoy's ABI and
nothing else. With an Envoy it also checks that the callbacks it looks up are there by these names.
"""

import pathlib
import re
import struct
import sys

LIBRARIES = re.compile(r"(libc|libm|librt|libdl|libpthread)\.so\.\d|ld-linux.*\.so\.\d|$")
HOOK = "envoy_dynamic_module_on_"
CALLBACK = "envoy_dynamic_module_callback_"
DT_NEEDED, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_VERNEED, DT_VERNEEDNUM = 1, 5, 6, 10, 0x6FFFFFFE, 0x6FFFFFFF
SHT_DYNSYM = 11


class Elf:
    """What is of interest in a 64-bit little-endian ELF file."""

    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()
        if self.data[:6] != b"\x7fELF\x02\x01":
            raise SystemExit(f"{path}: not a 64-bit little-endian ELF file")
        offset, = struct.unpack_from("<Q", self.data, 40)
        size, count = struct.unpack_from("<HH", self.data, 58)
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", self.data, offset + i * size) for i in range(count)]

    def text(self, strings, at):
        start = self.sections[strings][4] + at
        return self.data[start : self.data.index(b"\0", start)].decode()

    def symbols(self):
        """Name, and whether it is defined here, of each dynamic symbol."""
        for section in self.sections:
            if section[1] != SHT_DYNSYM:
                continue
            for at in range(section[4], section[4] + section[5], 24):
                name, _, _, place = struct.unpack_from("<IBBH", self.data, at)
                if name:
                    yield self.text(section[6], name), place != 0

    def needs(self):
        """The libraries, and the versions of their symbols."""
        libraries, versions = [], []
        for section in self.sections:
            if section[1] == 6:
                for at in range(section[4], section[4] + section[5], 16):
                    tag, value = struct.unpack_from("<qQ", self.data, at)
                    if tag == DT_NEEDED:
                        libraries.append(self.text(section[6], value))
            if section[1] == DT_VERNEED:
                at = section[4]
                for _ in range(section[7]):
                    _, count, _, auxiliary, following = struct.unpack_from("<HHIII", self.data, at)
                    one = at + auxiliary
                    for _ in range(count):
                        _, _, _, name, after = struct.unpack_from("<IHHII", self.data, one)
                        versions.append(self.text(section[6], name))
                        one += after
                    at += following
        return libraries, versions


def number(version):
    return tuple(int(part) for part in version.split("."))


def main(path, glibc, envoy=None):
    module = Elf(path)
    libraries, versions = module.needs()
    problems = [f"needs {library}" for library in libraries if not LIBRARIES.fullmatch(library)]
    of_glibc = [version.removeprefix("GLIBC_") for version in versions if version.startswith("GLIBC_")]
    numbered = [version for version in of_glibc if version[0].isdigit()]
    problems += [f"needs {version}" for version in versions if not version.startswith("GLIBC_")]
    problems += [f"needs a glibc that is private: {version}" for version in of_glibc if not version[0].isdigit()]
    problems += [f"needs glibc {version}" for version in numbered if number(version) > number(glibc)]
    symbols = list(module.symbols())
    hooks = [name for name, is_defined in symbols if is_defined and name.startswith(HOOK)]
    problems += [f"exports {name}" for name, is_defined in symbols if is_defined and not name.startswith(HOOK)]
    problems += [f"is linked against {name}" for name, is_defined in symbols if not is_defined and name.startswith(CALLBACK)]
    if not hooks:
        problems.append("exports no hook")
    if envoy:
        exported = {name for name, is_defined in Elf(envoy).symbols() if is_defined}
        looked_up = {text.decode() for text in re.findall(CALLBACK.encode() + rb"[a-z0-9_]+(?=\0)", module.data)}
        if not looked_up:
            problems.append("looks up no callback")
        problems += [f"looks up {name}, which Envoy does not have" for name in sorted(looked_up - exported)]
        known = pathlib.Path(envoy).read_bytes()
        problems += [f"exports {hook}, which Envoy does not know" for hook in hooks if hook.encode() not in known]
    for problem in problems:
        print(f"{path}: {problem}", file=sys.stderr)
    newest = max(numbered, key=number, default="none")
    print(f"{path}: {len(module.data):,} bytes, {len(hooks)} hooks, glibc {newest} or newer")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    raise SystemExit(main(*sys.argv[1:]))
