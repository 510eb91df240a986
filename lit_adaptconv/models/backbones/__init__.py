"""Networks that take a conv kind and a width."""

from lit_adaptconv.models.backbones.base import Backbone as Backbone
from lit_adaptconv.models.backbones.cifar_resnet import ResNet8 as ResNet8
from lit_adaptconv.models.backbones.cifar_resnet import ResNet20 as ResNet20
from lit_adaptconv.models.backbones.cifar_resnet import ResNet32 as ResNet32
from lit_adaptconv.models.backbones.cifar_resnet import ResNet56 as ResNet56
from lit_adaptconv.models.backbones.cifar_resnet import ResNet110 as ResNet110
from lit_adaptconv.models.backbones.convnet import ConvNet as ConvNet
from lit_adaptconv.models.backbones.lenet import CaffeLeNet as CaffeLeNet
from lit_adaptconv.models.backbones.lenet import LeNet5 as LeNet5
from lit_adaptconv.models.backbones.mobilenet import MobileNetV2 as MobileNetV2
from lit_adaptconv.models.backbones.resnet import ResNet18 as ResNet18
from lit_adaptconv.models.backbones.resnet import ResNet34 as ResNet34
from lit_adaptconv.models.backbones.resnet import ResNet50 as ResNet50
from lit_adaptconv.models.backbones.resnet import ResNet101 as ResNet101
from lit_adaptconv.models.backbones.squeezenet import SqueezeNet as SqueezeNet
