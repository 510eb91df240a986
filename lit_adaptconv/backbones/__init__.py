"""Networks that take a conv kind and a width."""

from lit_adaptconv.backbones.base import Backbone as Backbone
from lit_adaptconv.backbones.convnet import ConvNet as ConvNet
from lit_adaptconv.backbones.lenet import CaffeLeNet as CaffeLeNet
from lit_adaptconv.backbones.lenet import LeNet5 as LeNet5
