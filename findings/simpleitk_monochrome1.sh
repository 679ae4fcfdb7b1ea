#!/usr/bin/env bash
# 1. Seen with SimpleITK 2.5.7, pydicom 3.0.2, numpy 2.4.6, Python 3.11.
# 2. SimpleITK inverts the stored values of a MONOCHROME1 image within the bits stored while reading, and applies the rescale intercept and
#    slope to the inverted ones, yet the image's metadata still say MONOCHROME1. Whoever asks the tag, and inverts where it says so, inverts
#    twice. (A SimpleITK notebook of 2020 says that ITK loads such an image as is and that the user has to invert it.) pydicom's
#    pixel_array of the same file is not inverted.
# 3. One would expect the stored values with the tag, as in pydicom, or the inverted ones with the tag MONOCHROME2.
# 4. Chest and dental radiographs and mammograms: half of the images of a mixed folder become negatives, depending on the reader; values
#    rescaled to a unit are another number for the same pixel in SimpleITK and in pydicom.
# 5. Seen on 2026-11-28 (12 bits stored, slope 1, intercept -1024):
#      stored, pydicom      [0, 100, 4095]
#      rescaled, pydicom    [-1024, -924, 3071]
#      SimpleITK            [3071, 2971, -1024]
#      tag in SimpleITK     MONOCHROME1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

dataset = Dataset()
dataset.file_meta = FileMetaDataset()
dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
dataset.Modality, dataset.PatientName, dataset.PatientID = "CR", "drawn", "drawn"
dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 1, 3, 1
dataset.PhotometricInterpretation = "MONOCHROME1"
dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
dataset.PixelRepresentation = 0
dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
dataset.PixelData = np.array([0, 100, 4095], dtype="<u2").tobytes()
dataset.save_as("radiograph.dcm", enforce_file_format=True)

file = pydicom.dcmread("radiograph.dcm")
stored = file.pixel_array.ravel().tolist()
rescaled = [int(value) for value in apply_modality_lut(file.pixel_array, file).ravel()]
image = sitk.ReadImage("radiograph.dcm")
read = sitk.GetArrayFromImage(image).ravel().tolist()
tag = image.GetMetaData("0028|0004").strip()
print("stored, pydicom     ", stored)
print("rescaled, pydicom   ", rescaled)
print("SimpleITK           ", read)
print("tag in SimpleITK    ", tag)
assert stored == [0, 100, 4095] and rescaled == [-1024, -924, 3071]
assert read == [4095 - value - 1024 for value in stored]
assert tag == "MONOCHROME1"
PYTHON
