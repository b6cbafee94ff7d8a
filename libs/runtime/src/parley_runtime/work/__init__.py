"""The parts of the worker loop: admission, envelope, live runs, questions to other processes, serving one delivery."""
