"""tracekit: raw reasoning traces in, a training mix that can be trusted out."""

__version__ = "0.1.0"
