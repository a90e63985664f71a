"""Models as the user names them: what a text means, how a model is opened, and what it will be asked at most."""
