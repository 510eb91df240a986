"""Data modules: one file for each data set."""

from lit_adaptconv.data.base import ImageData as ImageData
from lit_adaptconv.data.cifar import CIFAR10 as CIFAR10
from lit_adaptconv.data.cifar import CIFAR100 as CIFAR100
from lit_adaptconv.data.digits import Digits as Digits
from lit_adaptconv.data.folder import ImageFolder as ImageFolder
from lit_adaptconv.data.loader import BatchLoader as BatchLoader
from lit_adaptconv.data.mnist import MNIST as MNIST
from lit_adaptconv.data.mnist import FashionMNIST as FashionMNIST
