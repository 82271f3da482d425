"""Hyperband (Li et al. 2018): many trials for few epochs, the best of them again for more.

    python tuning/hyperband.py lenet5 --data digits --epochs 9

51 s on 2 CPU cores, 23 trials: best validation accuracy 97.9 % (144 images, n = 1 search); the
winner has 98.1 % on the test split (360 images).

It counts its trials by itself, from --epochs, the length of the longest. A trial that goes on is
trained anew for three times as long, because a learning rate that has come down to 0 cannot go on;
that costs a third more than continuing would. Few epochs favour what learns fast: do not let it
choose warm-up, weight averaging or strong augmentation.
"""

import kcnn.tuning

SPACE = {
    "swa": False,
    "warmup": 0.5,
}

if __name__ == "__main__":
    found = kcnn.tuning.script(SPACE, method="hyperband", epochs=9)
    for trial in found.trials[:3]:
        print(trial.number, trial.epochs, trial.accuracy, dict(trial.values))
