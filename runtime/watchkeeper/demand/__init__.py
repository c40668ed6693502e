"""Series to forecasts: a ladder of models and its backtest. Pure; the only door to scikit-learn."""
