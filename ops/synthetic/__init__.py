"""Small random checkpoints that load as real ones do, for tests, benches and the chaos kit.

checkpoints  of GLM-4.1V, at several sizes: config, weights, tokenizer, chat template; start here
families     of Qwen2.5-VL, Qwen3-VL, BLIP-2 and GLM's relatives, with their configs' peculiarities
tokenizers   their tokenizers
"""
