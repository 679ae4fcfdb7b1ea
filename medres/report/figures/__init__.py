"""Figures from tidy tables; tables hold fractions, figures show percent.

Every function raises a ValueError that names the columns a table lacks. Figures are made without
pyplot, because a notebook would show a pyplot figure twice.
"""

from medres.report.figures.accuracy import (
    accuracy_grid,
    aligned_accuracy,
    differences,
    grid_heatmap,
    recovery,
)
from medres.report.figures.as_printed import as_printed
from medres.report.figures.calibration import confidence_gaps, reliability
from medres.report.figures.cost import cascades, frontier, shares
from medres.report.figures.images import (
    enlarged_images,
    image_pairs,
    power_spectrum,
    seen_images,
    size_and_tokens,
)
from medres.report.figures.ladder import ladder
from medres.report.figures.published import (
    count_matrix,
    losses,
    mixed_gaps,
    p_ranges,
    smallest_sizes,
)
from medres.report.figures.style import use_theme
from medres.report.figures.tokens import accuracy_by_tokens
from medres.report.figures.training import loss_curve
from medres.report.figures.views import views_of_image, zoom_cells

__all__ = [
    "accuracy_by_tokens",
    "accuracy_grid",
    "aligned_accuracy",
    "as_printed",
    "cascades",
    "confidence_gaps",
    "count_matrix",
    "differences",
    "enlarged_images",
    "frontier",
    "grid_heatmap",
    "image_pairs",
    "ladder",
    "loss_curve",
    "losses",
    "mixed_gaps",
    "p_ranges",
    "power_spectrum",
    "recovery",
    "reliability",
    "seen_images",
    "shares",
    "size_and_tokens",
    "smallest_sizes",
    "use_theme",
    "views_of_image",
    "zoom_cells",
]
