"""Attention of tokens against attention with all keys and values."""

import pytest
import torch

from mil.nn.token_layer import TokenLayer


@pytest.mark.parametrize("queries", [1, 3])
def test_tokens_hear_each_other_and_all_instances(queries):
    """(exact): without keys and values of instances, what attention with them gives."""
    torch.manual_seed(0)
    layer = TokenLayer(16, 4).double()
    tokens, instances = torch.randn(queries, 16).double(), torch.randn(9, 16).double()
    found, weights = layer(tokens, instances)
    x = layer.before(torch.cat([tokens, instances]))
    q, k, v = (part.view(-1, 4, 4).transpose(0, 1) for part in layer.qkv(x).chunk(3, 1))
    a = (q[:, :queries] @ k.transpose(1, 2) / 2).softmax(-1)
    heard = (a @ v).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found, layer.after(tokens + heard))
    torch.testing.assert_close(weights, a[..., queries:])
