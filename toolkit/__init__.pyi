"""The public names with their types; at run time they load on first use, see ``__init__.py``."""

from toolkit.advice.calibration import calibration as calibration
from toolkit.advice.request import AdviceRequest as AdviceRequest
from toolkit.advice.request import run_advice as run_advice
from toolkit.codecs.spec import expand_grid as expand_grid
from toolkit.codecs.spec import parse_codec as parse_codec
from toolkit.data.catalog import load_dataset as load_dataset
from toolkit.data.dataset import ImageDataset as ImageDataset
from toolkit.data.scenario import Scenario as Scenario
from toolkit.features.distortion import fmse as fmse
from toolkit.features.distortion import linear_cka as linear_cka
from toolkit.features.distortion import psnr as psnr
from toolkit.features.distortion import relative_fmse as relative_fmse
from toolkit.features.extractor import build_extractor as build_extractor
from toolkit.jpeg.layer import JPEGLayer as JPEGLayer
from toolkit.jpeg.layer import prepend as prepend
from toolkit.jpeg.tables import standard_tables as standard_tables
from toolkit.jpeg_dl.config import JPEGConfig as JPEGConfig
from toolkit.jpeg_dl.foreground import run_jpeg as run_jpeg
from toolkit.memory.budget import budget_bytes as budget_bytes
from toolkit.memory.replay import ReplayMemory as ReplayMemory
from toolkit.memory.selection import herding_order as herding_order
from toolkit.memory.store import ExemplarMemory as ExemplarMemory
from toolkit.pilots.config import PilotConfig as PilotConfig
from toolkit.pilots.foreground import run_pilot as run_pilot
from toolkit.pilots.foreground import run_seeds as run_seeds
from toolkit.probe.table import probe_codecs as probe_codecs
from toolkit.production.bundle import export_bundle as export_bundle
from toolkit.production.bundle import load_bundle as load_bundle
from toolkit.production.monitor import Monitor as Monitor
from toolkit.report.contents import write_report as write_report
from toolkit.report.facts import gather_study as gather_study
from toolkit.report.pdf import pdf_of as pdf_of
from toolkit.runs.find import find_runs as find_runs
from toolkit.runs.folder import RunFolder as RunFolder
from toolkit.study.foreground import run_study as run_study
from toolkit.study.plan import StudyChoices as StudyChoices
from toolkit.training.batches import Pool as Pool
from toolkit.training.batches import ReplayBatches as ReplayBatches
from toolkit.training.loop import Recipe as Recipe
from toolkit.training.loop import predict as predict
from toolkit.training.loop import train as train

__version__: str
