"""Go on from a bundle: learn the classes of a folder that its memory does not have, and keep their exemplars.

python assets/continue_training.py BUNDLE DATASET [--steps 200]
"""

import argparse

import numpy as np
import torch

import toolkit

options = argparse.ArgumentParser(description=__doc__)
options.add_argument("bundle")
options.add_argument("dataset", help="train/class/* and test/class/*, old classes first")
options.add_argument("--steps", type=int, default=200)
options.add_argument("--batch-size", type=int, default=128)
options.add_argument("--seed", type=int, default=0)
asked = options.parse_args()
torch.manual_seed(asked.seed)

bundle = toolkit.load_bundle(asked.bundle)
dataset = toolkit.load_dataset(asked.dataset, bundle.facts["size"])
old = bundle.facts["class_order"]  # output n of the network is class old[n]
new = [label for label in range(len(dataset.class_names)) if label not in old]
outputs = {label: n for n, label in enumerate([*old, *new])}


def pool(images: np.ndarray, labels: np.ndarray) -> toolkit.Pool:
    return toolkit.Pool(torch.from_numpy(images), torch.tensor([outputs[int(label)] for label in labels]))


cpu = torch.device("cpu")
arrived = np.isin(dataset.train.labels, new)
originals, labels = dataset.train.images[arrived], dataset.train.labels[arrived]
images = np.stack([bundle.preprocess(image, training=True) for image in originals])
exemplars, exemplar_labels, _ = bundle.memory.decode_all()
network = bundle.network()
network.grow(len(outputs))
fresh, kept = pool(images, labels), pool(exemplars, exemplar_labels)
batches = toolkit.ReplayBatches(fresh, kept, asked.batch_size, seed=asked.seed)
toolkit.train(network, batches, toolkit.Recipe(asked.steps), device=cpu)

features = toolkit.predict(network.eval().features, torch.from_numpy(images), device=cpu).numpy()
herded = {label: toolkit.herding_order(features[labels == label]) for label in new}
names = {label: dataset.class_names[label] for label in new}
bundle.memory.add_images({label: originals[labels == label][order] for label, order in herded.items()}, names)
bundle.facts.update(class_order=[*old, *new], class_names=list(dataset.class_names))
bundle.seal(network, np.asarray(dataset.test.images))

seen = np.stack([bundle.preprocess(image) for image in dataset.test.images])
found = toolkit.predict(network, torch.from_numpy(seen), device=cpu).argmax(1).numpy()
right = found == [outputs[int(label)] for label in dataset.test.labels]
print("accuracy over all classes:", np.mean([right[dataset.test.labels == label].mean() for label in outputs]))
