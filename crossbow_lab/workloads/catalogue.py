"""The public data sets: files, checksums as their publishers state them, addresses, and pixel statistics."""

from types import MappingProxyType

from crossbow_lab.workloads.data_files import Published

MNIST = Published(
    name="mnist",
    contents={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    downloads={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    folders=("mnist", "mnist/raw", "MNIST", "MNIST/raw", "raw", ""),
)

FASHION_MNIST = Published(
    name="fashion-mnist",
    contents={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    downloads={
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    folders=("fashion-mnist", "fashion-mnist/raw", "fashion", "FashionMNIST", "FashionMNIST/raw", "raw", ""),
)

CIFAR_10 = Published(
    name="cifar-10",
    contents={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
    downloads={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    folders=(
        "cifar-10-batches-py",
        "cifar-10/cifar-10-batches-py",
        "cifar10/cifar-10-batches-py",
        "CIFAR10/cifar-10-batches-py",
        "cifar-10-python/cifar-10-batches-py",
        "cifar-10",
        "cifar10",
        "CIFAR10",
        "",
    ),
)

CIFAR_100 = Published(
    name="cifar-100",
    contents={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    },
    downloads={"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"},
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    folders=(
        "cifar-100-python",
        "cifar-100/cifar-100-python",
        "cifar100/cifar-100-python",
        "CIFAR100/cifar-100-python",
        "cifar-100",
        "cifar100",
        "CIFAR100",
        "",
    ),
)

PUBLISHED = {published.name: published for published in (MNIST, FASHION_MNIST, CIFAR_10, CIFAR_100)}
"""Each by its name."""

MEAN_AND_DEVIATION = MappingProxyType(
    {
        "digits": ((0.3054,), (0.3759,)),
        "mnist": ((0.1307,), (0.3081,)),
        "fashion-mnist": ((0.2860,), (0.3530,)),
        "cifar-10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        "cifar-100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    }
)
"""Mean and standard deviation of the training pixels, per channel, where the brightest pixel is 1."""
