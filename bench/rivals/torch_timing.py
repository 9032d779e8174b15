"""How PyTorch's calls are timed: on a card all of a sample recorded as one graph, so that none waits for the host."""

import os
import time

import torch

LEAST = 0.01  # seconds of one sample of an op
now = time.process_time if os.environ.get("ANYMAL_BENCH_CLOCK") == "cpu" else time.perf_counter  # as in clock.ts


def on_card():
    return torch.get_default_device().type == "cuda"


def wait():
    if on_card():
        torch.cuda.synchronize()


class Calls:
    """Short calls: a sample is as many as fill LEAST."""

    def __init__(self, calls, least=LEAST):
        self.calls = calls
        self.count = 1
        self.sample()  # kernels are loaded, or compiled
        while self.sample() * self.count < least and self.count < 1 << 16:
            self.count *= 2

    def sample(self):
        wait()
        start = now()
        for i in range(self.count):
            self.calls[i % len(self.calls)]()
        wait()
        return (now() - start) / self.count


def recorded(calls):
    """All of them as one graph, after each has run twice."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph


class Graph(Calls):
    def __init__(self, calls):
        self.graph = recorded(calls)
        self.in_graph = len(calls)
        super().__init__([self.graph.replay])

    def sample(self):
        return super().sample() / self.in_graph


def calls_of(calls):
    return Graph(calls) if on_card() else Calls(calls)


class Step:
    """Long ones: a sample is one."""

    def __init__(self, step):
        self.step = step

    def sample(self):
        wait()
        start = now()
        self.step()
        wait()
        return now() - start


class Tokens:
    """Steps that each end when the host has their tokens, behind the same prompt in each sample, which is their median."""

    def __init__(self, decoder, steps):
        self.decoder = decoder
        self.steps = steps
        self.sample()

    def sample(self):
        self.decoder.restart()
        taken = []
        for _ in range(self.steps):
            start = now()
            self.decoder.step()
            taken.append(now() - start)
        return sorted(taken)[len(taken) // 2]
