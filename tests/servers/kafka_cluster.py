"""librdkafka's own mock cluster in a process of its own, told what to do by lines on standard input.

The cluster is part of the library that comes with confluent-kafka (rdkafka_mock.h); only C can make and break it, so
this calls it by ctypes. It speaks the real protocol over TCP, and keeps its log in memory: a killed process forgets.

    down | up                 close the port and every connection, or open it again with the log it had
    rtt MS                    answer that much later
    refuse CODE | take        answer every Produce with an error code of the protocol, or no longer
    make NAME                 make a topic
    topic NAME CODE           answer requests for a topic's metadata with an error code; 0: no longer
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_PRODUCE = 0
_REFUSALS = 5000


def library() -> ctypes.CDLL | None:
    """Return the librdkafka that confluent-kafka brings, or None where it uses another."""
    try:
        import confluent_kafka
    except ImportError:
        return None
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    found = next(folder.glob("librdkafka*.so*"), None)
    return ctypes.CDLL(str(found)) if found else None


class Cluster:
    """One broker; topics have four partitions and are made when they are asked for."""

    def __init__(self, lib: ctypes.CDLL) -> None:
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(lib, name).restype = ctypes.c_void_p
        lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        text = ctypes.create_string_buffer(512)
        conf = ctypes.c_void_p(lib.rd_kafka_conf_new())
        handle = lib.rd_kafka_new(0, conf, text, ctypes.c_size_t(len(text)))
        assert handle, text.value
        self._lib = lib
        self._handle = ctypes.c_void_p(handle)
        self._cluster = ctypes.c_void_p(lib.rd_kafka_mock_cluster_new(self._handle, 1))

    @property
    def address(self) -> str:
        """HOST:PORT of the broker."""
        return str(self._lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def do(self, line: str) -> None:
        """Obey one line."""
        what, *rest = line.split()
        if what == "down":
            self._lib.rd_kafka_mock_broker_set_down(self._cluster, 1)
        elif what == "up":
            self._lib.rd_kafka_mock_broker_set_up(self._cluster, 1)
        elif what == "rtt":
            self._lib.rd_kafka_mock_broker_set_rtt(self._cluster, 1, int(rest[0]))
        elif what == "make":
            self._lib.rd_kafka_mock_topic_create(self._cluster, rest[0].encode(), 4, 1)
        elif what == "topic":
            self._lib.rd_kafka_mock_topic_set_error(self._cluster, rest[0].encode(), int(rest[1]))
        else:
            self._lib.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(_PRODUCE))
            if what == "refuse":
                self._refuse(int(rest[0]))

    def _refuse(self, code: int) -> None:
        codes = (ctypes.c_int * _REFUSALS)(*[code] * _REFUSALS)
        self._lib.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(_PRODUCE), ctypes.c_size_t(_REFUSALS), codes
        )


def main() -> None:
    """Say where the cluster is, and obey until standard input ends."""
    lib = library()
    assert lib is not None
    cluster = Cluster(lib)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        cluster.do(line)
        print("done", flush=True)


if __name__ == "__main__":
    main()
