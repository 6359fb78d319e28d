"""Reward functions: functions of the answers, without a model."""

from train.rewards.functions import RewardFunction, checked_rewards, checked_scores, reward_functions
from train.rewards.python_file import FileReward

__all__ = ["FileReward", "RewardFunction", "checked_rewards", "checked_scores", "reward_functions"]
