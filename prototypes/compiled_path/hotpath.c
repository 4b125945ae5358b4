/* A prototype, and no part of the product: the hot path of isopod.ipc in C, one binary for Python 3.8 and later.

   Four ends of rings (record and return, reader and writer), the wait for a record, and the heads of records. The bytes
   in shared memory are those of ipc/ring.py and ipc/record.py, so either side can have it alone.

   C decides only that something is sound. Descriptors of tensors that are new are encoded and decoded, and so checked,
   by the Python code, whose tables of known ones are looked at here; and where the rest of a record or an argument
   does not pass a check, the pure function is called with the same, and raises. So there is one text for each error. */

#define Py_LIMITED_API 0x03080000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <semaphore.h>
#include <structmember.h>
#include <time.h>

enum { CURSOR = 64, SLOTS = 128, HEAD = 16, HEADER = 56, MAX_PLAIN = 256 * 1024 };  /* bytes: ipc/layout.py */
#define HOUR 3600000000000LL
#define LATE_RING 20000000LL
#if defined(__x86_64__)
#define RELAX __builtin_ia32_pause()
#else
#define RELAX __asm__ volatile("yield")
#endif

/* Out of the pure modules, by configure(). */
static PyObject *Record, *ProtocolError, *pack, *unpack, *pure_encode, *pure_decode, *encoded, *decoded;
static PyObject *decode_tensors, *new_tuple, *s_map;

static void drop(PyObject *const *objects, int count) {
    while (count--) Py_XDECREF(objects[count]);
}
#define DROP(...) drop((PyObject *[]){__VA_ARGS__}, sizeof((PyObject *[]){__VA_ARGS__}) / sizeof(PyObject *))

static int64_t now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static uint64_t number(PyObject *from, const char *name) {
    PyObject *value = PyObject_GetAttrString(from, name);
    uint64_t found = value ? PyLong_AsUnsignedLongLong(value) : 0;
    Py_XDECREF(value);
    return found;
}

/* The first byte of a segment, and in `pin` what keeps it mapped. The limited API has no buffers before 3.11. */
static char *mapped(PyObject *segment, PyObject **pin) {
    PyObject *map = PyObject_GetAttr(segment, s_map);
    *pin = map ? PyMemoryView_FromObject(map) : NULL;
    Py_XDECREF(map);
    return *pin ? (char *)(uintptr_t)number(segment, "address") : NULL;
}

/* One end of one ring. */
typedef struct {
    PyObject_HEAD
    PyObject *pins[2], *waiting;
    unsigned long long done, empty_rings;  /* done: what was read or written so far */
    char *base;  /* of a record ring */
    unsigned long long slots, slot_size, payload;
    sem_t *bell;
    long long look_up, budget;  /* ns */
    double averages[2];  /* ns waited after parking at once, and after spinning first: doorbell.Spin */
    int spins, best, count;
    uint64_t *entries, *cursor, size;  /* of a return ring */
} End;

static void end_free(PyObject *me) {
    PyTypeObject *type = Py_TYPE(me);
    DROP(((End *)me)->pins[0], ((End *)me)->pins[1], ((End *)me)->waiting);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(me);
    Py_DECREF(type);
}

/* ------------------------------------------------------------------ record rings, either end */
static PyObject *end_new(PyTypeObject *type, PyObject *args, PyObject *kw) {
    PyObject *segment, *shape;
    if (!PyArg_ParseTuple(args, "OO", &segment, &shape)) return NULL;
    End *self = (End *)PyType_GenericAlloc(type, 0);
    if (!self) return NULL;
    self->base = mapped(segment, &self->pins[0]);
    self->slots = number(shape, "slots");
    self->slot_size = number(shape, "slot_size");
    self->payload = self->slot_size - HEAD;
    if (PyErr_Occurred()) { Py_DECREF(self); return NULL; }
    return (PyObject *)self;
}

/* listen(address of the semaphore, look_up, budget): whoever calls it sees to it that the semaphore stays. */
static PyObject *end_listen(PyObject *me, PyObject *args) {
    End *self = (End *)me;
    unsigned long long address;
    if (!PyArg_ParseTuple(args, "KLL", &address, &self->look_up, &self->budget)) return NULL;
    self->bell = (sem_t *)(uintptr_t)address;
    self->spins = self->best = self->budget > 0;
    self->averages[0] = 4.0 * self->budget;
    Py_RETURN_NONE;
}

static char *slot(End *self) { return self->base + SLOTS + self->done % self->slots * self->slot_size; }
static int is_there(End *self) { return __atomic_load_n((uint64_t *)slot(self), __ATOMIC_ACQUIRE) == self->done + 1; }
static PyObject *reader_ready(PyObject *me, PyObject *none) { return PyBool_FromLong(is_there((End *)me)); }

static PyObject *reader_read(PyObject *me, PyObject *none) {
    End *self = (End *)me;
    if (!is_there(self)) Py_RETURN_NONE;
    char *at = slot(self);
    uint32_t size = __atomic_load_n((uint32_t *)(at + 8), __ATOMIC_RELAXED);  /* once: its writer can change it */
    if (size > self->payload)
        return PyErr_Format(ProtocolError, "a record claims %u bytes in a slot of %llu", size, self->payload);
    self->done++;
    return PyBytes_FromStringAndSize(at + HEAD, size);
}

/* 1: it rang. 0: the moment has passed. -1: a signal's handler has raised. */
static int park(sem_t *bell, int64_t until) {
    for (;;) {
        if (sem_trywait(bell) == 0) return 1;
        int64_t left = until - now(CLOCK_MONOTONIC);
        if (left <= 0) return 0;
        int64_t end = now(CLOCK_REALTIME) + (left < HOUR ? left : HOUR);
        struct timespec t = {end / 1000000000, end % 1000000000};
        int failed;
        Py_BEGIN_ALLOW_THREADS
        failed = sem_timedwait(bell, &t) ? errno : 0;
        Py_END_ALLOW_THREADS
        if (!failed) return 1;
        if (failed == EINTR && PyErr_CheckSignals()) return -1;
        if (failed != EINTR && failed != ETIMEDOUT) { errno = failed; PyErr_SetFromErrno(PyExc_OSError); return -1; }
    }
}

static int spin(End *self, int64_t until) {
    int seen;
    Py_BEGIN_ALLOW_THREADS
    for (int turn = 0; !(seen = is_there(self)) && ((++turn & 15) || now(CLOCK_MONOTONIC) < until);) {
        RELAX;
    }
    Py_END_ALLOW_THREADS
    return seen;
}

static void learn(End *self, int64_t waited) {  /* doorbell.Spin.learn */
    double most = 4.0 * self->budget, *average = &self->averages[self->spins];
    *average += ((waited < most ? waited : most) - *average) / 8;
    self->count = (self->count + 1) & 127;
    if (self->count >= 124) self->spins = !self->best;
    else self->spins = self->best = self->averages[1] < 0.9 * self->averages[0];
}

/* receive(deadline_ns=0): mailbox.Receiver.receive. No Python code runs between a ring and its record. */
static PyObject *reader_receive(PyObject *me, PyObject *args) {
    End *self = (End *)me;
    long long deadline = 0;
    if (!PyArg_ParseTuple(args, "|L", &deadline)) return NULL;
    if (!(is_there(self) && sem_trywait(self->bell) == 0)) {
        int64_t start = now(CLOCK_MONOTONIC), until = start + self->budget;
        int seen = self->spins && spin(self, deadline && deadline < until ? deadline : until);
        if (!(seen && sem_trywait(self->bell) == 0)) {
            until = start + (seen || is_there(self) ? LATE_RING : self->look_up);
            int rang = park(self->bell, deadline && deadline < until ? deadline : until);
            if (rang < 0) return NULL;
            if (!rang && !is_there(self)) Py_RETURN_NONE;
        }
        if (self->budget) learn(self, now(CLOCK_MONOTONIC) - start);
    }
    PyObject *record = reader_read(me, NULL);
    self->empty_rings = record == Py_None ? self->empty_rings + 1 : 0;
    return record;
}

/* write(record, stamped=-1): RecordWriter.write, and the ring that follows it where the end has a doorbell. */
static PyObject *writer_write(PyObject *me, PyObject *args) {
    End *self = (End *)me;
    PyObject *record;
    long stamped = -1;
    char *bytes; Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "O|l", &record, &stamped)) return NULL;
    if (PyBytes_AsStringAndSize(record, &bytes, &size)) return NULL;
    if ((uint64_t)size > self->payload || stamped * 8 + 8 > size)
        return PyErr_Format(PyExc_ValueError, "a record of %zd bytes does not fit", size);
    char *at = slot(self);
    memcpy(at + HEAD, bytes, size);
    if (stamped >= 0) ((uint64_t *)(at + HEAD))[stamped] = now(CLOCK_MONOTONIC);
    *(uint64_t *)(at + 8) = size;
    /* SYNC POINT record: length and payload before the sequence number. */
    __atomic_store_n((uint64_t *)at, ++self->done, __ATOMIC_RELEASE);
    if (self->bell) sem_post(self->bell);  /* where the counter is at its maximum, nobody can be asleep */
    return PyLong_FromUnsignedLongLong(self->done - 1);
}

/* ------------------------------------------------------------------ return rings, either end */
/* Of either end the ring lies in `ring`, and the cursor in the other segment. */
static PyObject *returns_new(PyTypeObject *type, PyObject *args, PyObject *kw) {
    PyObject *ring, *shape, *other;
    if (!PyArg_ParseTuple(args, "OOO", &ring, &shape, &other)) return NULL;
    End *self = (End *)PyType_GenericAlloc(type, 0);
    if (!self) return NULL;
    char *base = mapped(ring, &self->pins[0]), *there = mapped(other, &self->pins[1]);
    self->entries = (uint64_t *)(base + number(shape, "returns_offset"));
    self->cursor = (uint64_t *)(there + CURSOR);
    self->size = number(shape, "returns");
    self->waiting = PyList_New(0);
    if (PyErr_Occurred()) { Py_DECREF(self); return NULL; }
    return (PyObject *)self;
}

static uint64_t pass(End *self) { return (self->done / self->size + 1) & 0xFFFF; }
static uint64_t *place(End *self) { return &self->entries[self->done % self->size]; }
static uint64_t entry(End *self) { return __atomic_load_n(place(self), __ATOMIC_ACQUIRE); }

static PyObject *returns_flush(PyObject *me, PyObject *none) {
    End *self = (End *)me;
    while (PyObject_Size(self->waiting) > 0) {
        /* A cursor that is ahead of us is garbled, and must not look like a full ring. */
        uint64_t cursor = __atomic_load_n(self->cursor, __ATOMIC_ACQUIRE);
        if (cursor <= self->done && self->done - cursor >= self->size) Py_RETURN_FALSE;
        PyObject *key = PyObject_CallMethod(self->waiting, "pop", "i", 0);
        unsigned long long segment, block;
        int sound = key && PyArg_ParseTuple(key, "KK", &segment, &block);
        Py_XDECREF(key);
        if (!sound) return NULL;
        /* SYNC POINT return: the block's last use before its entry. */
        __atomic_store_n(place(self), pass(self) << 48 | segment << 32 | block, __ATOMIC_RELEASE);
        self->done++;
    }
    Py_RETURN_TRUE;
}

static PyObject *returned_ready(PyObject *me, PyObject *none) {
    return PyBool_FromLong(entry((End *)me) >> 48 == pass((End *)me));
}

static PyObject *returned_take(PyObject *me, PyObject *none) {
    End *self = (End *)me;
    PyObject *keys = PyList_New(0);
    for (uint64_t found; keys && (found = entry(self)) >> 48 == pass(self);) {
        PyObject *key = Py_BuildValue("(KK)", found >> 32 & 0xFFFF, found & 0xFFFFFFFF);
        if (!key || PyList_Append(keys, key)) Py_CLEAR(keys);
        Py_XDECREF(key);
        __atomic_store_n(self->cursor, ++self->done, __ATOMIC_RELEASE);
    }
    return keys;
}

/* ------------------------------------------------------------------ records */
/* Whether the pure code is to say what is wrong. Not of Ctrl-C, which may have come in the middle of `unpack`. */
static int judged(void) {
    PyObject *error = PyErr_Occurred();
    if (error && !PyErr_GivenExceptionMatches(error, PyExc_Exception)) return 0;
    PyErr_Clear();
    return 1;
}

static PyObject *decode(PyObject *module, PyObject *data) {
    PyObject *described = NULL, *tensors = NULL, *extra = NULL, *fields, *record;
    char *at; Py_ssize_t size;
    uint16_t count; uint32_t tail;
    unsigned long long words[6];
    if (PyBytes_AsStringAndSize(data, &at, &size) || size < HEADER) goto refused;
    memcpy(&count, at + 2, 2);
    memcpy(&tail, at + 4, 4);
    memcpy(words, at + 8, 48);
    int kind = (unsigned char)at[0], flags = (unsigned char)at[1];
    if (kind < 1 || kind > 6 || flags > 1 || tail > MAX_PLAIN || size - HEADER < (Py_ssize_t)tail) goto refused;
    if (!(described = PyBytes_FromStringAndSize(at + HEADER, size - HEADER - tail))) goto refused;
    tensors = PyDict_GetItemWithError(decoded, described);
    if (tensors && PyTuple_Size(tensors) == count) Py_INCREF(tensors);
    else tensors = PyErr_Occurred() ? NULL : PyObject_CallFunction(decode_tensors, "Oi", described, (int)count);
    if (!tensors) goto refused;
    extra = tail ? PyObject_CallFunction(unpack, "y#", at + size - tail, (Py_ssize_t)tail) : PyDict_New();
    if (!extra || (PyObject *)Py_TYPE(extra) != (PyObject *)&PyDict_Type) goto refused;
    fields = Py_BuildValue("(iK(KKKKK)NNO)", kind, words[0], words[1], words[2], words[3], words[4], words[5], tensors,
                           extra, flags ? Py_True : Py_False);
    record = fields ? PyObject_CallFunctionObjArgs(new_tuple, Record, fields, NULL) : NULL;
    DROP(fields, described);
    return record;
refused:
    DROP(described, tensors, extra);
    return judged() ? PyObject_CallFunctionObjArgs(pure_decode, data, NULL) : NULL;
}

/* encode(kind, call, stamps, tensors, extra=None, flags=0). Descriptors that are new are encoded by the pure code. */
static PyObject *encode(PyObject *module, PyObject *args, PyObject *named) {
    static char *forms = "bOO!O|Ob", *keys[] = {"kind", "call", "stamps", "tensors", "extra", "flags", NULL};
    PyObject *call, *stamps, *tensors, *extra = NULL, *kept = NULL, *described = NULL, *tail = NULL, *record = NULL;
    unsigned char kind, flags = 0;
    uint64_t words[6];
    if (!PyArg_ParseTupleAndKeywords(args, named, forms, keys, &kind, &call, &PyTuple_Type, &stamps, &tensors, &extra,
                                     &flags)) goto refused;
    words[0] = PyLong_AsUnsignedLongLong(call);
    for (int index = 0; index < 5 && PyTuple_Size(stamps) == 5; index++)
        words[index + 1] = PyLong_AsUnsignedLongLong(PyTuple_GetItem(stamps, index));
    if (PyErr_Occurred() || PyTuple_Size(stamps) != 5 || !(kept = PySequence_Tuple(tensors))) goto refused;
    if (!(described = PyDict_GetItemWithError(encoded, kept))) goto refused;
    Py_INCREF(described);
    int has_extra = extra ? PyObject_IsTrue(extra) : 0;
    if (has_extra && PyBytes_Check(extra)) { tail = extra; Py_INCREF(tail); }
    else tail = has_extra ? PyObject_CallFunctionObjArgs(pack, extra, NULL) : PyBytes_FromStringAndSize(NULL, 0);
    if (!tail || PyBytes_Size(tail) > MAX_PLAIN) goto refused;
    uint16_t count = PyTuple_Size(kept);
    uint32_t length = PyBytes_Size(tail);
    Py_ssize_t size = PyBytes_Size(described);
    if ((record = PyBytes_FromStringAndSize(NULL, HEADER + size + length))) {
        char *at = PyBytes_AsString(record);
        at[0] = kind;
        at[1] = flags;
        memcpy(at + 2, &count, 2);
        memcpy(at + 4, &length, 4);
        memcpy(at + 8, words, 48);
        memcpy(at + HEADER, PyBytes_AsString(described), size);
        memcpy(at + HEADER + size, PyBytes_AsString(tail), length);
    }
    goto done;
refused:
    if (judged()) record = PyObject_Call(pure_encode, args, named);
done:
    DROP(kept, described, tail);
    return record;
}

/* ------------------------------------------------------------------ the module */
/* configure((...)): what it takes of the pure modules. Once in a process, and for good. */
static PyObject *configure(PyObject *module, PyObject *found) {
    if (!PyArg_ParseTuple(found, "OOOOOOOOOO", &Record, &ProtocolError, &pack, &unpack, &pure_encode, &pure_decode,
                          &encoded, &decoded, &decode_tensors, &new_tuple)) return NULL;
    Py_INCREF(found);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"configure", configure, METH_O, NULL}, {"decode", decode, METH_O, NULL},
    {"encode", (PyCFunction)(void *)encode, METH_VARARGS | METH_KEYWORDS, NULL}, {NULL}};
static PyMethodDef reader_methods[] = {
    {"listen", end_listen, METH_VARARGS, NULL}, {"ready", reader_ready, METH_NOARGS, NULL},
    {"read", reader_read, METH_NOARGS, NULL}, {"drain", reader_read, METH_NOARGS, NULL},
    {"receive", reader_receive, METH_VARARGS, NULL}, {NULL}};
static PyMethodDef writer_methods[] = {{"listen", end_listen, METH_VARARGS, NULL},
                                       {"write", writer_write, METH_VARARGS, NULL}, {NULL}};
static PyMethodDef returns_methods[] = {{"flush", returns_flush, METH_NOARGS, NULL}, {NULL}};
static PyMethodDef returned_methods[] = {{"ready", returned_ready, METH_NOARGS, NULL},
                                         {"take", returned_take, METH_NOARGS, NULL}, {NULL}};
static PyMemberDef members[] = {{"taken", T_ULONGLONG, offsetof(End, done), READONLY, NULL},
                                {"empty_rings", T_ULONGLONG, offsetof(End, empty_rings), READONLY, NULL},
                                {"waiting", T_OBJECT, offsetof(End, waiting), READONLY, NULL}, {NULL}};
static struct { const char *name; newfunc make; PyMethodDef *methods; } kinds[] = {
    {"hotpath.RecordReader", end_new, reader_methods}, {"hotpath.RecordWriter", end_new, writer_methods},
    {"hotpath.ReturnWriter", returns_new, returns_methods}, {"hotpath.ReturnReader", returns_new, returned_methods}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "hotpath", NULL, -1, functions};

PyMODINIT_FUNC PyInit_hotpath(void) {
    PyObject *module = PyModule_Create(&definition);
    for (int index = 0; module && index < 4; index++) {
        PyType_Slot slots[] = {{Py_tp_new, kinds[index].make}, {Py_tp_dealloc, end_free},
                               {Py_tp_methods, kinds[index].methods}, {Py_tp_members, members}, {0, NULL}};
        PyType_Spec spec = {kinds[index].name, sizeof(End), 0, Py_TPFLAGS_DEFAULT, slots};
        PyObject *type = PyType_FromSpec(&spec);
        if (!type || PyModule_AddObject(module, strchr(kinds[index].name, '.') + 1, type)) Py_CLEAR(module);
    }
    s_map = PyUnicode_InternFromString("map");
    return module;
}
