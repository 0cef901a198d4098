"""Cron expressions in their dialects, and when they are due. Pure and without a clock."""

from taskq.cron.schedule import CronSchedule

__all__ = ["CronSchedule"]
