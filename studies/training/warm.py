"""All that trials would otherwise do anew in each of their processes, done once by importing this, before these are forked.

Only the process that they are forked from imports it. Importing it has an effect, and that is its purpose: the first model that
is loaded makes transformers compile some thousand patterns, which takes as long as loading does. No thread may be left behind
by it, or what is forked could wait for a lock that nobody will give back.
"""

from __future__ import annotations

import gc
import tempfile
import threading
from contextlib import suppress

_SECONDS_TO_END = 30.0


def load_a_model() -> None:
    """Save and load a model of a few numbers, by one thread."""
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

    from studies.training.predict import quietly

    quietly()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    config = BertConfig(
        vocab_size=8, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4, max_position_embeddings=8
    )
    with tempfile.TemporaryDirectory() as folder:
        BertForSequenceClassification(config).save_pretrained(folder)
        AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
    torch.set_num_threads(threads)
    # Those that read weights have nothing more to do, but need not have ended yet.
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(_SECONDS_TO_END)


gc.disable()  # hardly anything of this is garbage, and looking for it takes a fifth of the time
try:
    from studies.training import (  # noqa: F401
        image_classification,
        loop,
        question_answering,
        sequence_to_sequence,
        text_classification,
        text_generation,
        token_classification,
        word_vectors,
    )

    with suppress(OSError):  # a full disk: then each trial does it by itself
        load_a_model()
finally:
    gc.freeze()  # a trial that looked through all this would copy the pages that it shares
    gc.enable()
