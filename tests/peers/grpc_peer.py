"""A gRPC service and its client, without generated code: messages are bytes.

grpc_peer.py serve                    prints its port and serves until it is ended
grpc_peer.py call PORT METHOD [TIMEOUT | cancel | give-up]
                                      calls /shop.v1.Cart/METHOD, prints the status code's name and how many messages came; it
                                      cancels after the first message, or gives up if there is none for a moment

Add answers, Fail ends with NOT_FOUND after its headers, Refuse at once, List streams three messages, Hang streams one and waits for the client to leave,
Stall does not even send its headers.
"""

import sys
import threading
from concurrent import futures

import grpc

SERVICE = "shop.v1.Cart"


def add(request, context):
    return request


def fail(request, context):
    context.send_initial_metadata([("x-began", "1")])
    context.abort(grpc.StatusCode.NOT_FOUND, "no such item")


def refuse(request, context):
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")


def items(request, context):
    for _ in range(3):
        yield request


def hang(request, context):
    left = threading.Event()
    context.add_callback(left.set)
    yield request
    left.wait()


def stall(request, context):
    left = threading.Event()
    context.add_callback(left.set)
    left.wait()
    return request


def serve():
    handlers = {
        "Add": grpc.unary_unary_rpc_method_handler(add),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "List": grpc.unary_stream_rpc_method_handler(items),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "Stall": grpc.unary_unary_rpc_method_handler(stall),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def call(port, method, end=None):
    timeout = float(end) if end not in (None, "cancel", "give-up") else None
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.unary_stream(f"/{SERVICE}/{method}")(b"item", timeout=timeout)
        if end == "give-up":
            threading.Timer(0.3, stream.cancel).start()
        messages = 0
        try:
            for _ in stream:
                messages += 1
                if end == "cancel":
                    stream.cancel()
        except grpc.RpcError:
            pass
        print(stream.code().name, messages)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
