"""Random changes of files: of bytes, archives, JSON and arrays."""

import copy
import io
import json
import struct
import zipfile

import numpy as np

DOCUMENT = "crnn.npy"

NUMBERS = [0, -1, 1, 2, 3, 7, 255, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**9, 10**30, -(2**63)]
SIZES = [
    1000,
    3000,
    10**5,
    10**6,
    10**7,
    10**8,
]  # some of these sizes need more than the memory, some do not
FLOATS = [0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")]
WORDS = ["", "x", "tanh", "relu", "float16", "float64", "after", "concat", "additive", "0", "\0é"]
OTHERS = [None, True, False, [], {}, [[]], {"$tuple": []}, {"$array": "x"}, {"class": "LSTM"}]
CLASSES = [
    *(
        "RNN",
        "LSTM",
        "GRU",
        "JANET",
        "Reservoir",
        "Dense",
        "Embedding",
        "Dropout",
        "LayerNorm",
        "Pool",
        "Activation",
        "Ridge",
        "RLS",
    ),
    *("Sequential", "Residual", "Bidirectional", "Checkpointed", "Conditioned", "TiedDense"),
    *("Seq2Seq", "TeacherForcing", "SequenceAutoencoder", "LastState", "Attention"),
    *(
        "Layer",
        "Composition",
        "Pointwise",
        "Rowwise",
        "Gathered",
        "WithParameters",
        "Recurrent",
        "RunsParts",
        "Wrapper",
    ),
    *("InOneBuffer", "EncoderDecoder", "Seq2SeqParts", "os:system", ":", "crnn.layers:LSTM", ""),
]


def mutate(rng, content, other):
    """Return `content` with random changes; parts may be copied from the file `other`."""
    changes = [bytes_of, bytes_in, archive_of, array_of, array_of, *[document_of] * 5]
    for _ in range(int(rng.integers(1, 3))):
        change = pick(rng, changes)
        try:
            content = change(rng, content, other)
        except Exception:
            content = bytes_of(rng, content, other)  # after an earlier change it is no archive
    return content


def pick(rng, choices):
    return choices[int(rng.integers(len(choices)))]


# -------------------------------------------------------------------------------------------- bytes


def bytes_of(rng, content, other):
    """Flip bits, or cut, remove, repeat, overwrite bytes, or copy bytes from another file."""
    data, size = bytearray(content), max(1, len(content))
    begin, end = sorted(int(place) for place in rng.integers(0, size + 1, 2))
    short = min(end, begin + int(rng.integers(1, 64)))
    kind = int(rng.integers(6))
    if kind <= 1 and data:
        for place in rng.integers(0, len(data), int(rng.integers(1, 9))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del data[begin:]
    elif kind == 3:
        del data[begin:short]
    elif kind == 4:
        data[begin:short] = rng.bytes(short - begin)
    else:
        data[begin:begin] = other[begin:short]
    return bytes(data)


def bytes_in(rng, content, other):
    """Change the bytes of one member of an archive, which stays valid."""
    members = members_of(content)
    name = pick(rng, list(members))
    members[name] = bytes_of(rng, members[name], other)
    return packed(members.items())


# ----------------------------------------------------------------------------------------- archives


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members, compression=zipfile.ZIP_STORED):
    """Return an archive of (name, bytes) pairs; names may occur twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return file.getvalue()


def archive_of(rng, content, other):
    """Remove, repeat, rename, exchange or compress members, or give them false sizes."""
    members = list(members_of(content).items())
    i, j = (int(n) for n in rng.integers(0, len(members), 2))
    kind = int(rng.integers(7))
    if kind == 0:
        del members[i]
    elif kind == 1:
        members.append((pick(rng, ["more.npy", "note.txt", "x/y.npy"]), members[i][1]))
    elif kind == 2:
        members[i] = (members[j][0] + pick(rng, ["", "_", ".npy"]), members[i][1])
    elif kind == 3:
        (a, x), (b, y) = members[i], members[j]
        members[i], members[j] = (a, y), (b, x)
    elif kind == 4:
        return packed(members, zipfile.ZIP_DEFLATED)
    elif kind == 5:
        return lying_sizes(rng, packed(members))
    else:
        members += list(members_of(other).items())
    return packed(dict(members).items())


def lying_sizes(rng, content):
    """Return an archive with another number in one of the fields of its directory."""
    data = bytearray(content)
    places = [i for i in range(len(data) - 46) if data[i : i + 4] == b"PK\x01\x02"]
    field = pick(rng, [8, 10, 20, 24, 28, 30, 34, 42])  # flags, method, sizes, lengths, offset
    value = pick(rng, [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, int(rng.integers(2**16))])
    struct.pack_into("<I", data, pick(rng, places) + field, value)
    return bytes(data)


# --------------------------------------------------------------------------------------------- JSON


def document_of(rng, content, other):
    """Change, exchange or remove values of the JSON, or rename classes."""
    try:
        members = members_of(content)
    except zipfile.BadZipFile:
        document = json.loads(content)  # a vocabulary
        edit(rng, document)
        return json.dumps(document).encode()
    document = json.loads(np.load(io.BytesIO(members[DOCUMENT])).tobytes())
    for _ in range(int(rng.integers(1, 4))):
        edit(rng, document)
    members[DOCUMENT] = npy(np.frombuffer(json.dumps(document).encode(), np.uint8))
    return packed(members.items())


def places_of(value):
    """Return all pairs (container, key) in a tree."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places_of(value[key])


def edit(rng, document):
    """Change the tree in one place, or in all places that name an array."""
    inside = document.get("tree") if rng.integers(10) else None
    places = list(places_of(inside or document))
    if not places:
        return
    container, key = pick(rng, places)
    other, other_key = pick(rng, places)
    arrays = [place for place in places if place[1] == "$array"]
    classes = [place for place in places if place[1] == "class"]
    numbers = [
        (box, at)
        for box, at in places
        if isinstance(box[at], int) and not isinstance(box[at], bool) and at != "seed"
    ]
    kind = int(rng.integers(11))
    if kind >= 9 and classes:
        claim(rng, pick(rng, classes)[0], arrays)
    elif kind == 0:
        container[key] = pick(rng, NUMBERS + FLOATS + WORDS + OTHERS)
    elif kind == 1:
        container[key] = copy.deepcopy(other[other_key])
    elif kind == 2:
        del container[key]
    elif kind == 3 and isinstance(container, dict):
        container[pick(rng, ["x", "$tuple", "$array", "class", "config", "bias", "layer"])] = (
            container.pop(key)
        )
    elif kind == 4 and arrays:
        name = pick(rng, arrays)[0]["$array"]
        for box, _ in arrays:
            box["$array"] = name
    elif kind == 5 and classes:
        box, at = pick(rng, classes)
        box[at] = pick(rng, CLASSES)
    elif kind == 6 and isinstance(container, list):
        container[:] = container * int(rng.integers(2, 50))
    elif numbers:
        box, at = pick(rng, numbers)
        box[at] = pick(rng, [box[at] + 1, box[at] - 1, -box[at], 2 * box[at], *NUMBERS])


def claim(rng, description, arrays):
    """Give a layer sizes that are larger than its arrays."""
    config = description.get("config")
    if not isinstance(config, dict):
        return
    if rng.integers(4) == 0:
        description["class"], config = pick(rng, CLASSES), {}
        description["config"] = config
    sizes = [name for name in config if isinstance(config[name], int) and name != "seed"]
    for name in sizes:
        if rng.integers(2):
            config[name] = pick(rng, SIZES)
        elif rng.integers(4) == 0:
            config[name] = 0
    if rng.integers(2) and arrays:
        name = pick(rng, arrays)[0]["$array"]
        for box, _ in arrays:
            box["$array"] = name
    if rng.integers(4) == 0 and "config" in description:
        description["config"] = {"$tuple": [config]}


# ------------------------------------------------------------------------------------------- arrays


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def array_of(rng, content, other):
    """Return an array of another dtype, shape or content, or with a false header."""
    members = members_of(content)
    name = pick(rng, list(members))
    array = np.load(io.BytesIO(members[name]))
    kind = int(rng.integers(5))
    if kind == 0:
        types = ["f2", "f4", "f8", ">f8", "i1", "i8", "u1", "?", "c8", "U3"]
        with np.errstate(all="ignore"):
            array = array.astype(pick(rng, types))
    elif kind == 1:
        array = array.astype("f8")
        array.flat[: int(rng.integers(1, 4))] = pick(rng, FLOATS)
    elif kind == 2:
        shapes = [array.shape[::-1], (array.size,), (*array.shape, 1), (1, array.size)]
        array = array.reshape(pick(rng, shapes))
    elif kind == 3:
        array = np.resize(array, pick(rng, [(0,), (1,), (array.size + 1,), (2, 2), (0, 3)]))
    else:
        members[name] = lying_header(rng, array)
        return packed(members.items())
    members[name] = npy(array)
    return packed(members.items())


def lying_header(rng, array):
    """Return the bytes of an .npy file whose header does not match its data."""
    shapes = [
        (10**12,),
        (2**63,),
        (-1,),
        (-2, -2),
        (0, 10**30),
        (True,),
        (3.5,),
        ((3,),),
        (1,) * 70,
    ]
    header = {
        "descr": pick(rng, ["<f4", "<f8", "|O", "|V8", "<U4", [("a", "<f4")], "x", "<M8[s]"]),
        "fortran_order": pick(rng, [True, False, 3]),
        "shape": pick(rng, [array.shape, array.shape[::-1], *shapes]),
    }
    text = pick(rng, [repr(header), "(" * 500, "{" + repr(header), "[1]*10**9", ""])
    text = text.encode("latin1").ljust(int(rng.integers(64, 4000))) + b"\n"
    version = pick(rng, [b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + array.tobytes()
