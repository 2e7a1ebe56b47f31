"""Models of sales and traffic, one file each, behind `recgym.forecast.models.base.Forecaster`."""
