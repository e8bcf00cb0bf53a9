"""Cells: their parameters and equations. docs/development.md says how to add one."""

from .cell import Cell as Cell
from .cell import Rows as Rows
from .gru import GRU as GRU
from .lstm import LSTM as LSTM
from .lstm import SimpleRNN as SimpleRNN
from .mingru import MinGRU as MinGRU
from .minlstm import MinLSTM as MinLSTM
from .qrnn import QRNN as QRNN
from .registry import CELLS as CELLS
from .registry import get_cell as get_cell
from .registry import register_cell as register_cell
from .sru import SRU as SRU
