"""Networks: backbones, the widest one within a budget, and the conversion of networks that are there already."""

from lit_adaptconv.models.backbones import Backbone as Backbone
from lit_adaptconv.models.backbones import CaffeLeNet as CaffeLeNet
from lit_adaptconv.models.backbones import ConvNet as ConvNet
from lit_adaptconv.models.backbones import LeNet5 as LeNet5
from lit_adaptconv.models.backbones import MobileNetV2 as MobileNetV2
from lit_adaptconv.models.backbones import ResNet8 as ResNet8
from lit_adaptconv.models.backbones import ResNet18 as ResNet18
from lit_adaptconv.models.backbones import ResNet20 as ResNet20
from lit_adaptconv.models.backbones import ResNet32 as ResNet32
from lit_adaptconv.models.backbones import ResNet34 as ResNet34
from lit_adaptconv.models.backbones import ResNet50 as ResNet50
from lit_adaptconv.models.backbones import ResNet56 as ResNet56
from lit_adaptconv.models.backbones import ResNet101 as ResNet101
from lit_adaptconv.models.backbones import ResNet110 as ResNet110
from lit_adaptconv.models.backbones import SqueezeNet as SqueezeNet
