"""A till's hardware without hardware: a Debian guest under QEMU whose kernel sees genuine USB devices."""
