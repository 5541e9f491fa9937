"""Builds what the guest boots from: a kernel, a small initramfs, a root file system with our libraries.

It takes two or three minutes, once: the result lies in a cache directory, named by a hash of everything that
goes into it (this file, the packages, the agent's requirements). Old ones are removed.

No boot loader and no installer: QEMU starts the unpacked kernel itself, whose modules for the disk are in the
initramfs. What is tested (the checkout) is not in the image; the guest gets it when it runs.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[2]
INSIDE = HERE / "inside"
SUITE = "bookworm"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "udev",
    "dbus",
    "kmod",
    "iproute2",
    "procps",
    "usbutils",
    "python3",
    "libusb-1.0-0",
    "linux-image-amd64",
)
NOT_NEEDED = ("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*")
MODULES_NOT_NEEDED = (
    "drivers/gpu",
    "drivers/media",
    "drivers/infiniband",
    "drivers/net/wireless",
    "drivers/net/ethernet",
    "drivers/scsi",
    "drivers/ata",
    "drivers/iio",
    "drivers/staging",
    "drivers/edac",
    "drivers/hwmon",
    "drivers/md",
    "drivers/mtd",
    "fs/btrfs",
    "fs/xfs",
    "fs/ocfs2",
    "net/sctp",
    "sound",
)
BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-timesyncd.service",
    "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service",
)
ROOT_MB = 900
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in $(/bin/busybox cat /modules/order); do /bin/busybox insmod "/modules/$module"; done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /lib/systemd/systemd
"""


@dataclass(frozen=True, slots=True)
class Image:
    """What QEMU is given. The disk is a base that nobody writes to."""

    kernel: Path
    initramfs: Path
    disk: Path


def image() -> Image:
    """The image, built if it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kopilka-bed"
    place = cache / _name()
    if not (place / "done").exists():
        shutil.rmtree(cache, ignore_errors=True)
        place.mkdir(parents=True)
        _build(place)
        (place / "done").touch()
    return Image(place / "vmlinux", place / "initramfs", place / "root.img")


def _name() -> str:
    """Everything that goes into the image, as a hash."""
    digest = hashlib.sha256(sys.version.encode())
    digest.update(repr(_requirements()).encode())
    for file in (Path(__file__), *sorted(INSIDE.iterdir())):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _requirements() -> list[str]:
    """What the agent needs of others."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        found: list[str] = tomllib.load(file)["project"]["dependencies"]
    return found


def _build(place: Path) -> None:
    root = place / "root"
    print("building the guest's image: three minutes, once", file=sys.stderr, flush=True)
    excluded = [f"--dpkgopt=path-exclude=/{pattern}" for pattern in NOT_NEEDED]
    _run(
        *("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", *excluded),
        *('--aptopt=APT::Install-Recommends "false"', SUITE, str(root), "-"),
        text=_sources(),
    )
    kernel = next((root / "boot").glob("vmlinuz-*"))
    version = kernel.name.removeprefix("vmlinuz-")
    (place / "vmlinux").write_bytes(unpacked(kernel.read_bytes()))
    _drop_modules(root, version)
    _initramfs(place, root, version)
    _libraries(root)
    _furnish(root)
    shutil.rmtree(root / "boot")
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), "-L", "bed", str(place / "root.img"), f"{ROOT_MB}M")
    shutil.rmtree(root)


def _sources() -> str:
    """Debian's part of this machine's own package sources."""
    found = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("debian*"))]
    return "\n\n".join(file.read_text() for file in found if file.is_file())


def unpacked(packed: bytes) -> bytes:
    """The kernel in a bzImage: it starts in half the time. Raises ValueError for one packed otherwise."""
    at = packed.find(b"\xfd7zXZ\x00")
    if at < 0:
        raise ValueError("this kernel is not packed with xz")
    return lzma.LZMADecompressor().decompress(packed[at:])


def _drop_modules(root: Path, version: str) -> None:
    kernel = root / "usr/lib/modules" / version / "kernel"
    for directory in MODULES_NOT_NEEDED:
        shutil.rmtree(kernel / directory, ignore_errors=True)
    _run("depmod", "-b", str(root / "usr"), version)


def _initramfs(place: Path, root: Path, version: str) -> None:
    tree = place / "early"
    for directory in ("bin", "dev", "root", "modules"):
        (tree / directory).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    order: list[str] = []
    for module in BOOT_MODULES:
        shown = _run("modprobe", "-d", str(root / "usr"), "-S", version, "--show-depends", module)
        for line in shown.splitlines():
            words = line.split()
            if words[0] == "insmod" and Path(words[1]).name not in order:
                shutil.copy(words[1], tree / "modules")
                order.append(Path(words[1]).name)
    (tree / "modules/order").write_text("\n".join(order))
    files = "\n".join(str(path.relative_to(tree)) for path in [tree, *sorted(tree.rglob("*"))])
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"],
        input=files.encode(),
        cwd=tree,
        capture_output=True,
        check=True,
    )
    (place / "initramfs").write_bytes(packed.stdout)
    shutil.rmtree(tree)


def _libraries(root: Path) -> None:
    """The agent's requirements, for the guest's Python: it is of the same version as ours."""
    site = root / "opt/kopilka/site"
    _run(
        *(sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"),
        *("--target", str(site), *_requirements()),
    )
    _run(sys.executable, "-m", "compileall", "-q", "-s", str(root), str(site))


def _furnish(root: Path) -> None:
    """The bed's own service, names, and what must not run."""
    for file in INSIDE.iterdir():
        shutil.copy(file, root / "usr/local/lib" / file.name)
    units = root / "etc/systemd/system"
    shutil.copy(INSIDE / "bed.service", units)
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/bed.service").symlink_to("../bed.service")
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    (root / "etc/hostname").write_text("till\n")
    (root / "etc/fstab").write_text("")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/shadow").write_text("root::19700:0:99999:7:::\n")
    command = root / "opt/kopilka/.venv/bin/kopilka-agent"
    command.parent.mkdir(parents=True)
    command.write_text(
        "#!/bin/sh\nexport PYTHONPATH=/opt/kopilka:/opt/kopilka/site\n"
        'exec /usr/bin/python3 -c "from agent.cli import main; main()" "$@"\n'
    )
    command.chmod(0o755)


def _run(*words: str, text: str | None = None) -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:3])}…: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    print(image())
