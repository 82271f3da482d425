"""Random search: independent trials, the baseline that other methods have to beat.

    python tuning/random_search.py lenet5 --data digits --trials 20 --epochs 10

1 min 9 s on 2 CPU cores: best validation accuracy 97.2 % (144 images, n = 1 search); the winner
has 98.3 % on the test split (360 images).

Rates are drawn on a logarithmic scale, so that each power of ten gets the same number of trials.
The same command goes on where it was broken off; with more --trials it extends a finished search.
Copy this page and change SPACE, or give rows by --space, such as

    --space learning_rate=1e-3:1e-1:log batch_size=32,64 dropout=0.2
"""

import kcnn.tuning

#: Changes of the network's own table, which is printed when the search starts: a Range, a list of
#: values, or a fixed value. `"learning_rate": kcnn.tuning.Range(1e-3, 1e-1, "log")`, say.
SPACE = {
    "swa": False,
}

if __name__ == "__main__":
    found = kcnn.tuning.script(SPACE, method="random")
    for trial in found.trials[:3]:
        print(trial.number, trial.accuracy, dict(trial.values))
