"""Engines that hold the weights behind one contract: plain, data parallel, DeepSpeed ZeRO-1 to 3 with offload."""
