# SPDX-License-Identifier: BSD-3-Clause
"""Prompts and answers in tokens a second beside llama.cpp, in turns: speed.py ATTN_CHAT MODEL [LENGTH...] [--rounds N]

Medians, with one thread and with two; llama.cpp's answers are of 32 tokens behind the prompt, attn-chat's of 64. "first"
is the time from the start of a process to the first token after a short prompt, memory the most that a process had.
Needs llama-cpp-python besides requirements.txt."""
import argparse
import re
import resource
import statistics
import subprocess
import sys
import time

LLAMA = "llama.cpp"


def llama(path, threads, length):
    begin = time.perf_counter()
    import llama_cpp
    model = llama_cpp.Llama(path, n_ctx=length + 256, n_threads=threads, n_threads_batch=threads, n_batch=512,
                            verbose=False)
    model.eval(list(range(100, 131)))
    model.sample(temp=0)
    first = time.perf_counter() - begin
    model.reset()
    begin = time.perf_counter()
    model.eval([1 + (i * 77 + 5) % 40000 for i in range(length)])
    model.sample(temp=0)
    middle = time.perf_counter()
    for _ in range(32):
        model.eval([model.sample(temp=0)])
    end = time.perf_counter()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(length / (middle - begin), 32 / (end - middle), first, memory)


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True)


def theirs(path, threads, length):
    return [float(x) for x in output(sys.executable, __file__, LLAMA, path, threads, str(length)).stdout.split()]


def ours(chat, path, threads, length):
    common = ["--model", path, "--threads", threads, "--context", str(length + 256)]
    bench = output(chat, "bench", *common)
    prompt, answer = re.search(rf"^ *{length} +([0-9.]+) +([0-9.]+)$", bench.stdout, re.M).groups()
    memory = re.search("([0-9]+) MB", bench.stdout + bench.stderr)[1]
    first = re.search("after ([0-9.]+) s", output(chat, "chat", "-p", "Hi", "--most", "1", *common).stderr)[1]
    return [float(x) for x in (prompt, answer, first, memory)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chat")
    parser.add_argument("model")
    parser.add_argument("lengths", nargs="*", type=int, default=[512, 4096])
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    parser.add_argument("--rounds", type=int, default=5)
    o = parser.parse_args()
    print("                   prompt tokens/s            answer tokens/s            first, s       MB")
    print("tokens threads   attn-chat llama.cpp ratio  attn-chat llama.cpp ratio   attn  llama   attn llama")
    for length in o.lengths:
        for threads in o.threads:
            turns = [(ours(o.chat, o.model, threads, length), theirs(o.model, threads, length)) for _ in range(o.rounds)]
            (p, a, f, m), (lp, la, lf, lm) = ([statistics.median(x) for x in zip(*who)] for who in zip(*turns))
            ratio = [statistics.median(mine[i] / his[i] for mine, his in turns) for i in range(2)]
            print(f"{length:6} {threads:>7} {p:11.0f} {lp:9.0f} {ratio[0]:5.2f} {a:10.0f} {la:9.0f} {ratio[1]:5.2f}"
                  f" {f:6.2f} {lf:6.2f} {m:6.0f} {lm:5.0f}", flush=True)


if sys.argv[1:2] == [LLAMA]:
    llama(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    main()
