"""Annotation files: exports of labeling tools, COCO, and lists of cloud services."""
