"""One thread: the tensors of the tests are small, and busy neighbours make more threads crawl."""

import torch

torch.set_num_threads(1)
