"""Many trainings from one command: grids (`-m`) and searches (`sweep=NAME`).

outputs/sweeps/NAME/DATE-TIME/       a grid, or NAME/SWEEP for a search: the same command continues it
  sweep.json         what is searched: parameters, objectives, configuration
  journal.log        every trial of a search and its validations (Optuna's journal)
  0/ 1/ 2/ ...       a run folder a job
    job.json         how the job ended, with its values
    output.txt       what it printed (searches)
  leaderboard.md leaderboard.csv report.html

command -> the Hydra sweeper plugin -> search (asks Optuna, tells it) -> a Hydra launcher -> job (watches one training)
-> keeper (leads the process group of the training, ends it when nobody waits for it any more) -> limner train
"""
