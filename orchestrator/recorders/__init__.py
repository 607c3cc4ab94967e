"""A run recorded elsewhere, where a config asks for it: TensorBoard, MLflow.

`recording` makes points of what is told and hands them to recorders; each recorder is one small class.
"""
