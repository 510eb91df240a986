from .base import ImageData as ImageData
from .cifar import CIFAR10 as CIFAR10
from .cifar import CIFAR100 as CIFAR100
from .digits import Digits as Digits
from .folder import ImageFolder as ImageFolder
from .loader import BatchLoader as BatchLoader
from .mnist import MNIST as MNIST
from .mnist import FashionMNIST as FashionMNIST
