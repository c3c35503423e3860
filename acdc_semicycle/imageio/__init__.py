"""One door for image files: NIfTI, NRRD, MetaImage, DICOM series and pictures, with their geometry.

Every reader checks what it reads, and refuses in one line what it cannot trust.
"""
