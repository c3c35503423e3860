"""One door for image files: NIfTI, NRRD, MetaImage, DICOM series and pictures, with their geometry.

Every reader checks what it reads, and refuses what it cannot trust with one line that says why.
"""
