import pytest
import torch
from torch import nn

from wsi.batch_norms import fold_batch_norms


def trained(name, **settings):
    """A network of timm whose batch norms are no identity."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=0, **settings).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.4, 0.8)
            module.bias.data.normal_(0, 0.2)
    return network


def count(network):
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "norms", "left"),
    [
        ("resnet18", 20, 0),
        ("resnet34", 36, 0),
        ("resnet50", 53, 0),
        ("resnet50d", 52, 3),  # of its deep stem, whose layers have numbers for names
        ("resnetblur50", 53, 0),
    ],
)
@torch.inference_mode()
def test_a_resnet_of_timm_computes_the_same(name, norms, left):
    network = trained(name)
    x = torch.randn(2, 3, 64, 64)
    before = network(x)
    assert before.std() > 0.01
    assert fold_batch_norms(network) == norms
    assert count(network) == left
    torch.testing.assert_close(network(x), before, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "name", ["densenet121", "tf_efficientnet_lite0", "resnetv2_50", "seresnet18", "regnetx_002"]
)
def test_networks_whose_names_say_nothing_of_the_order_are_left_alone(name):
    import timm

    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False)
    norms = count(network)
    folded = fold_batch_norms(network.eval())
    assert count(network) == norms - folded
    if name != "seresnet18":  # a ResNet, with gates behind the merged norms
        assert folded == 0


@torch.inference_mode()
def test_gates_behind_the_norms_do_not_matter():
    network = trained("seresnet18")
    x = torch.randn(2, 3, 64, 64)
    before = network(x)
    assert fold_batch_norms(network) == 20
    torch.testing.assert_close(network(x), before, atol=1e-4, rtol=1e-3)
