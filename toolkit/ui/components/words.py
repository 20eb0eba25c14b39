"""The field's words in plain language, for help texts, and how amounts are written."""

from __future__ import annotations

FMSE = (
    "Feature MSE: mean squared difference between a network's features of the original and of the compressed image; "
    "relative: divided by the features' mean square, so 0 is no change and 1 is as large as the features themselves."
)
BPP = "Bits per pixel of what is stored for one image; raw RGB is 24."
EXEMPLARS = "Exemplars are the old images a learner keeps and trains on again so as not to forget them."
ALIGNMENT = (
    "Which images pass through the codec besides the exemplars. none: no others. train: the new classes' training "
    "images too, so old and new look alike. both: test images as well, as when the deployed model receives compressed "
    "images. A lossless codec changes nothing, so it always runs as none."
)
STORED = "Bytes an exemplar costs in the memory: the header that all images share is stored once, not in each."
FILE = "Bytes of the same image as an ordinary file of this format, with its header."
HEADER_TAX = "How much of an ordinary file is header that need not be stored for every image."
PSNR = "Peak signal-to-noise ratio in dB: higher is closer to the original; above 40 few people see a difference."
SSIM = "Structural similarity: 1 is identical."
BUDGET = "Bytes for the whole memory: 262144, 256KiB, 1.5MB, or 20img for what 20 raw images of every class cost."
EXTRACTOR = (
    "The network whose features judge the images. auto: ImageNet weights if they are on this machine, else stage0. "
    "stage0: a small network trained now on a fifth of the classes. self: trained on all classes. random: not trained. "
    "Also timm:NAME or checkpoint:PATH."
)
ADVICE = (
    "Also asks every rule which setting and alignment to take. A fifth of the images is then held out to judge by; "
    "test images stay closed."
)
EXPECTED_GAIN = (
    "Points of accuracy after the last stage over a memory of raw pixels in the same bytes, as expected from the "
    "pilots that calibrated it: gained by the number of exemplars, lost by distortion and by the shift between coded "
    "and uncoded images."
)
REGRET = (
    "How many points of last accuracy the rule's pick lacked to the best choice, on problems where every choice was "
    "piloted."
)
ORIGINAL_BASIS = "How many times smaller than the original file (where there are no files: than raw pixels)."
RAW_BASIS = "How many times smaller than raw 24-bit pixels."
MEASURES = (
    "Last: over all classes, after the last stage. Average incremental: the mean over stages of the accuracy on the "
    "classes seen so far. Forgetting: how far accuracy on earlier classes has fallen from its best; 0 is nothing "
    "forgotten. Coded images are test images that passed through the codec, as with align both."
)
INTERVAL = "Bars show 95 % confidence intervals over seeds (Student's t); one seed has none."
STAGES = "Classes arrive in stages. After each stage only the exemplars of earlier classes are left to train on."


def duration(seconds: float) -> str:
    """``45 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
