"""The time that the baselines' own algorithms take, beside a plain transcription of each as it was published."""
