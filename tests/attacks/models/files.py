# mypy: ignore-errors
"""Attacks on files. ``victims`` names a folder with a secret, a file to change, and places to write to."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import native

Victims = dict[str, Any]


def read_secret(victims: Victims, _: Any) -> bool:
    with open(victims["secret"], encoding="ascii") as file:
        return file.read() == victims["marker"]


def list_folder(victims: Victims, _: Any) -> bool:
    return bool(os.listdir(victims["folder"]))


def read_by_own_root(victims: Victims, _: Any) -> bool:
    with open("/proc/self/root" + victims["secret"], encoding="ascii") as file:
        return file.read() == victims["marker"]


def read_by_parents_root(victims: Victims, _: Any) -> bool:
    with open(f"/proc/{os.getppid()}/root{victims['secret']}", encoding="ascii") as file:
        return file.read() == victims["marker"]


def stat_known_path(victims: Victims, _: Any) -> bool:
    return os.stat(victims["secret"]).st_size > 0


def create_file(victims: Victims, _: Any) -> bool:
    with open(os.path.join(victims["folder"], "created"), "w", encoding="ascii") as file:
        return file.write("x") > 0


def create_in_dev_shm(victims: Victims, _: Any) -> bool:
    with open(victims["shm"], "x", encoding="ascii") as file:
        return file.write("x") > 0


def write_model_folder(victims: Victims, _: Any) -> bool:
    with open(os.path.join(os.path.dirname(__file__), victims["dropping"]), "x", encoding="ascii") as file:
        return file.write("x") > 0


def write_environment(victims: Victims, _: Any) -> bool:
    with open(os.path.join(victims["site"], victims["dropping"]), "x", encoding="ascii") as file:
        return file.write("x") > 0


def overwrite(victims: Victims, _: Any) -> bool:
    with open(victims["file"], "r+", encoding="ascii") as file:
        return file.write("overwritten") > 0


def truncate(victims: Victims, _: Any) -> bool:
    os.truncate(victims["file"], 1)
    return True


def open_to_truncate(victims: Victims, _: Any) -> bool:
    os.close(os.open(victims["file"], os.O_RDONLY | os.O_TRUNC))
    return True


def hard_link(victims: Victims, _: Any) -> bool:
    os.link(victims["file"], victims["file"] + ".link")
    return True


def symbolic_link(victims: Victims, _: Any) -> bool:
    os.symlink(victims["secret"], os.path.join(victims["folder"], "symlink"))
    return True


def rename(victims: Victims, _: Any) -> bool:
    os.rename(victims["file"], victims["file"] + ".moved")
    return True


def unlink(victims: Victims, _: Any) -> bool:
    os.unlink(victims["file"])
    return True


def make_folder(victims: Victims, _: Any) -> bool:
    os.mkdir(os.path.join(victims["folder"], "made"))
    return True


def make_fifo(victims: Victims, _: Any) -> bool:
    os.mkfifo(os.path.join(victims["folder"], "fifo"))
    return True


def chmod(victims: Victims, _: Any) -> bool:
    os.chmod(victims["file"], 0o777)
    return True


def chmod_by_descriptor(victims: Victims, _: Any) -> bool:
    descriptor = os.open(__file__, os.O_RDONLY)  # its own file may be read, and is the application's
    try:
        os.fchmod(descriptor, os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
    return True


def utime(victims: Victims, _: Any) -> bool:
    os.utime(victims["file"], (1, 1))
    return True


def extended_attribute(victims: Victims, _: Any) -> bool:
    os.setxattr(victims["file"], "user.isopod", b"x")
    return True


def core_pattern(victims: Victims, _: Any) -> bool:
    os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))  # opened, never written
    return True


def handle_of_a_path(victims: Victims, _: Any) -> bool:
    room = ctypes.create_string_buffer(b"\x80\0\0\0" + bytes(132))
    mount = ctypes.c_int()
    path = ctypes.c_char_p(victims["secret"].encode())
    return native.call("name_to_handle_at", -100, path, room, ctypes.byref(mount), 0) == 0


def watch_files(victims: Victims, _: Any) -> bool:
    descriptor = native.call("inotify_init1", 0)
    try:
        path = ctypes.c_char_p(victims["folder"].encode())
        if native.library.inotify_add_watch(descriptor, path, 0x100) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
    finally:
        os.close(descriptor)
    return True


def listed_network(victims: Victims, _: Any) -> bool:
    with open("/proc/self/net/tcp", encoding="ascii") as file:
        return bool(file.read())


def pth_file(victims: Victims, _: Any) -> bool:
    """A ``.pth`` file of its environment ran as the environment became active, and has tried to read the secret."""
    import isopod_hostile_pth

    return bool(isopod_hostile_pth.read == victims["marker"])


ATTACKS = {
    one.__name__: one
    for one in (
        read_secret, list_folder, read_by_own_root, read_by_parents_root, stat_known_path, create_file,
        create_in_dev_shm, write_model_folder, write_environment, overwrite, truncate, open_to_truncate, hard_link,
        symbolic_link, rename, unlink, make_folder, make_fifo, chmod, chmod_by_descriptor, utime, extended_attribute,
        core_pattern, handle_of_a_path, watch_files, listed_network, pth_file,
    )
}  # fmt: skip
