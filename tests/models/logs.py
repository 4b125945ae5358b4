"""A model that talks, in every way there is: ``Talker()(do="record", x=...)``."""

# mypy: ignore-errors
# Runs in workers, on Python 3.7 and later.

import logging
import os
import signal
import sys
import threading

log = logging.getLogger("talker.inner")
log.warning("imported")


class Untellable:
    def __str__(self):
        raise RuntimeError("it has no text")


class Talker:
    def __init__(self):
        log.warning("constructed")

    def close(self):
        log.warning("closed")

    def __call__(self, do, x=None):
        return getattr(self, "do_" + do)(x) or {}

    def do_record(self, x):
        fields = {"seconds": 1.5, "shape": [1, 2], "who": self.do_record, "model": "mine"}
        log.error("took %d steps", 3, extra=fields)

    def do_levels(self, x):
        for level in (logging.DEBUG, logging.INFO, 25, logging.WARNING, logging.CRITICAL):
            log.log(level, "at %d", level)

    def do_root(self, x):
        logging.getLogger().warning("from the root")

    def do_exception(self, x):
        try:
            raise ValueError("the reason")
        except ValueError:
            log.exception("it failed", stack_info=True)

    def do_text(self, x):
        log.warning("%s", x)

    def do_long_text(self, x):
        log.warning("begin%send", "\u00e9" * x)

    def do_untellable(self, x):
        log.warning("%s", Untellable())
        log.warning("a field", extra={"thing": Untellable()})

    def do_flood(self, x):
        for number in range(x):
            log.warning("record %d", number)
        log.warning("the last one")

    def do_prints(self, x):
        for number in range(x):
            print("line", number)

    def do_threads(self, x):
        def talk(name):
            for number in range(x):
                log.warning("%s %d", name, number)

        threads = [threading.Thread(target=talk, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def do_filter(self, x):
        def talkative(record):
            if record.name == "talker.inner":
                logging.getLogger("talker.filter").warning("filtering")
            return True

        log.addFilter(talkative)
        try:
            log.warning("filtered")
        finally:
            log.removeFilter(talkative)

    def do_finaliser_and_signal(self, x):
        class Last:
            def __del__(self):
                log.warning("finalised")

        Last()
        before = signal.signal(signal.SIGUSR1, lambda *_: log.warning("signalled"))
        os.kill(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, before)

    def do_basic_config(self, x):
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        log.warning("after basicConfig")

    def do_own_handler(self, x):
        handler = logging.StreamHandler(sys.stderr)
        logging.root.addHandler(handler)
        log.warning("twice")
        logging.root.removeHandler(handler)

    def do_forced_config(self, x):
        logging.basicConfig(force=True, format="mine: %(message)s")
        log.warning("our handler is gone")

    def do_fork(self, x):
        child = os.fork()
        if child == 0:
            log.warning("from a fork")
            os._exit(0)
        os.waitpid(child, 0)

    def do_bar(self, x):
        for step in range(x + 1):
            done = 100 * step // x
            sys.stderr.write(f"\r\x1b[32m{done:3d}%\x1b[0m|{'#' * (done // 10)}| {step}/{x}")
        sys.stderr.write("\n")

    def do_write(self, x):
        os.write(1, x)

    def do_die(self, x):
        log.error("about to divide\nby zero")
        os._exit(3)

    def do_many_loggers(self, x):
        for number in range(x):
            logging.getLogger(f"many.{number}").warning("number %d", number)

    def do_hostile(self, x):
        from isopod.ipc.protocol import Message

        logging.root.handlers[0]._outgoing.offer(Message("log", x))

    def do_pid(self, x):
        return {"pid": os.getpid()}

    def do_print_for_ever(self, x):
        def talk():
            while True:
                os.write(1, b"word\n" * 1000)

        threading.Thread(target=talk, daemon=True).start()
