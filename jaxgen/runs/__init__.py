"""Runs: Config and flags, the command-line program, the run folder, logs, records."""

from jaxgen.runs.atomic import atomic_write as atomic_write
from jaxgen.runs.config import differences as differences
from jaxgen.runs.config import from_json as from_json
from jaxgen.runs.config import integers as integers
from jaxgen.runs.config import option as option
from jaxgen.runs.config import to_flagfile as to_flagfile
from jaxgen.runs.config import to_json as to_json
from jaxgen.runs.config import validate as validate
from jaxgen.runs.execute import Job as Job
from jaxgen.runs.execute import Report as Report
from jaxgen.runs.execute import add_record as add_record
from jaxgen.runs.execute import execute as execute
from jaxgen.runs.log import Logger as Logger
from jaxgen.runs.log import curve as curve
from jaxgen.runs.log import read_metrics as read_metrics
from jaxgen.runs.platform import configure as configure
from jaxgen.runs.platform import device_name as device_name
from jaxgen.runs.processes import is_first as is_first
from jaxgen.runs.program import main as main
from jaxgen.runs.records import Row as Row
from jaxgen.runs.records import command_line as command_line
from jaxgen.runs.records import write_record as write_record
from jaxgen.runs.run_folder import RunFolder as RunFolder
