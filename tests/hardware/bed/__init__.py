"""The bed: the guest's image (image.py), the running guest (guest.py), what is plugged into it (gadgets.py),
and a disk that forgets what was not flushed (disk.py)."""
