"""Ways to end: each function here is one, and what it does is real. ``meet(way)`` says so on stderr and does it.

Orders come in a file, ``phase way``, whose path is in the environment: it is there before the worker is, and lives on
when that is dead. The rest of a row's life is told by files beside it: ``sign`` makes one.
"""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later, and before numpy is there: the standard library only.

import ctypes
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time

ORDERS = os.environ.get("ISOPOD_TEST_ORDERS", "")
FOR_EVER = 3600


def exit_0():
    ctypes.CDLL(None).exit(0)


def exit_3():
    ctypes.CDLL(None).exit(3)


def os_exit():
    os._exit(4)


def sys_exit():
    sys.exit(7)


def raises():
    raise ValueError("as any")


def sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def sigsegv():
    ctypes.string_at(8)


def sigabrt():
    ctypes.CDLL(None).abort()


def sigbus():
    with tempfile.TemporaryFile() as file:
        file.truncate(2 * mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), 2 * mmap.PAGESIZE)
        file.truncate(mmap.PAGESIZE)
        return memory[mmap.PAGESIZE]


def stack_overflow():
    """Native frames between Python ones, with no limit on either, and a small stack: some Pythons keep a limit."""
    sys.setrecursionlimit(1 << 30)

    def deeper(_=None):
        return sorted([1], key=deeper)

    if threading.current_thread() is threading.main_thread():
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 19, resource.getrlimit(resource.RLIMIT_STACK)[1]))
        deeper()
    else:
        threading.stack_size(1 << 16)
        thread = threading.Thread(target=deeper)
        thread.start()
        thread.join()


def out_of_memory():
    """The limit stays, as it does where somebody set it for good; what the process has, it keeps."""
    with open("/proc/self/statm") as file:
        has = int(file.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (has + (256 << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))
    return bytearray(1 << 40)


def thread_raises():
    thread = threading.Thread(target=raises)
    thread.start()
    thread.join()


def thread_exits():
    thread = threading.Thread(target=os._exit, args=(5,))
    thread.start()
    thread.join()


def sigstop():
    os.kill(os.getpid(), signal.SIGSTOP)


def endless():
    while True:
        pass


def endless_native():
    library = ctypes.CDLL(None)
    while True:
        library.sleep(FOR_EVER)  # a signal ends it early


def endless_with_gil():
    """One native call that never ends and keeps the interpreter's lock, from before it is told that it does."""
    told = f": > '{ORDERS}.taken'; " if ORDERS else ""
    ctypes.PyDLL(None).system(f"{told}exec sleep {FOR_EVER}".encode())


def deadlock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def close_fds():
    os.closerange(3, 4096)


def garbage_in_ring():
    link().answer(b"\xff" * 200)
    sign("taken")
    time.sleep(FOR_EVER)


def garbage_on_socket():
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink("/proc/self/fd/" + name).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as channel:
                    channel.sendall(b"\xff" * 100)
        except OSError:
            continue
    time.sleep(FOR_EVER)


def link():
    """The worker's own connection: some frame of the main thread has it."""
    serve = sys.modules["isopod.opeworker.serve"]
    frame = sys._current_frames()[threading.main_thread().ident]
    while not isinstance(frame.f_locals.get("self"), serve.Server):
        frame = frame.f_back
    return frame.f_locals["self"]._link


def sign(what):
    """A file beside the orders, for the other side to wait for."""
    if ORDERS:
        open(ORDERS + "." + what, "w").close()


def ordered(phase):
    """The way that is ordered for this phase, if any."""
    try:
        with open(ORDERS) as file:
            words = file.read().split()
    except OSError:
        return ""
    return words[1] if words[:1] == [phase] else ""


def meet(way):
    print("about to meet", way, file=sys.stderr)
    globals()[way]()


def obey(phase):
    way = ordered(phase)
    if way:
        meet(way)
