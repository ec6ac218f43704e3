"""What the pipelines refuse: bundles 20-29 and 60-69, judging 30-39 and 70-79."""

from signing.errors import OperatorError


class BundleRefused(OperatorError):
    """A bundle, a volume or a receipt is not what it should be. Nothing of it has become visible."""


class JudgingRefused(OperatorError):
    """A version may not be taken in, run or served as asked."""
