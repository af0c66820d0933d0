//! The same work straight through wgpu, in this process.

use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result};
use wgpu::{
    Backends, BindGroup, BindGroupDescriptor, BindGroupEntry, Buffer, BufferDescriptor, BufferUsages, CommandEncoderDescriptor,
    ComputePipeline, ComputePipelineDescriptor, Device, DeviceDescriptor, Instance, InstanceDescriptor, MapMode, PollType, Queue,
    ShaderModuleDescriptor, ShaderSource,
};

use super::{BULK_BYTES, NUMBERS, Work};
use crate::echo::micros;

/// A device, with the buffers and the pipeline of one kind of work.
pub(super) struct Direct {
    device: Device,
    queue: Queue,
    work: Work,
    buffers: Vec<Buffer>,
    pipeline: Option<(ComputePipeline, BindGroup)>,
    /// What reads end in.
    staging: Buffer,
    data: Vec<u8>,
}

impl Direct {
    /// Opens the adapter of this name.
    pub(super) fn open(work: Work, name: &str) -> Result<Self> {
        let instance =
            Instance::new(InstanceDescriptor { backends: Backends::VULKAN, ..InstanceDescriptor::new_without_display_handle() });
        let adapters = pollster::block_on(instance.enumerate_adapters(Backends::VULKAN));
        let adapter = adapters.into_iter().find(|adapter| adapter.get_info().name == name);
        let adapter = adapter.with_context(|| format!("the GPU {name} is gone"))?;
        let (device, queue) = pollster::block_on(adapter.request_device(&DeviceDescriptor::default()))?;
        let usage = BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let buffer = |size: usize, usage| {
            device.create_buffer(&BufferDescriptor { label: None, size: size as u64, usage, mapped_at_creation: false })
        };
        let staging = buffer(if work == Work::Step { 256 } else { BULK_BYTES }, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        let buffers: Vec<_> = work.buffers().into_iter().map(|size| buffer(size, usage)).collect();
        let pipeline = work.shader().map(|shader| pipeline(&device, shader, &buffers));
        Ok(Self { device, queue, work, buffers, pipeline, staging, data: vec![0; BULK_BYTES] })
    }

    /// How long one time takes, in microseconds, in the mean over so many.
    pub(super) fn time(&mut self, times: u32) -> Result<f64> {
        let started = Instant::now();
        for _ in 0..times {
            self.once()?;
        }
        Ok(micros(started.elapsed()) / f64::from(times))
    }

    /// Fills all buffers, and what goes to them, with numbers.
    pub(super) fn fill(&mut self) {
        let numbers = (0..NUMBERS).map(|n| n as f32).cycle().flat_map(f32::to_le_bytes);
        self.data = numbers.take(BULK_BYTES).collect();
        for buffer in &self.buffers {
            self.queue.write_buffer(buffer, 0, &self.data[..buffer.size() as usize]);
        }
    }

    /// What its work comes to.
    pub(super) fn result(&mut self) -> Result<Vec<u8>> {
        let index = self.work.result();
        let bytes = self.buffers[index].size() as usize;
        self.read(index, bytes, None)?;
        Ok(self.data[..bytes].to_vec())
    }

    fn once(&mut self) -> Result<()> {
        match self.work {
            Work::Step => self.compute(1, Some(4)),
            Work::Matmul => self.compute(16, None),
            Work::BulkIn => {
                self.queue.write_buffer(&self.buffers[0], 0, &self.data);
                self.queue.submit([]);
                self.wait()
            }
            Work::BulkOut => self.read(0, BULK_BYTES, None),
        }
    }

    fn compute(&mut self, side: u32, read: Option<usize>) -> Result<()> {
        let (pipeline, bindings) = self.pipeline.as_ref().context("this work has a shader")?;
        let mut encoder = self.device.create_command_encoder(&CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, bindings, &[]);
            pass.dispatch_workgroups(side, side, 1);
        }
        match read {
            Some(bytes) => self.read(0, bytes, Some(encoder)),
            None => {
                self.queue.submit([encoder.finish()]);
                self.wait()
            }
        }
    }

    fn read(&mut self, buffer: usize, bytes: usize, encoder: Option<wgpu::CommandEncoder>) -> Result<()> {
        let mut encoder = encoder.unwrap_or_else(|| self.device.create_command_encoder(&CommandEncoderDescriptor::default()));
        encoder.copy_buffer_to_buffer(&self.buffers[buffer], 0, &self.staging, 0, bytes as u64);
        self.queue.submit([encoder.finish()]);
        let (sender, mapped) = mpsc::channel();
        self.staging.slice(..bytes as u64).map_async(MapMode::Read, move |result| {
            // Nobody is there to hear of it where the wait failed.
            let _ = sender.send(result);
        });
        self.wait()?;
        mapped.recv().context("the wait ended before the buffer was mapped")??;
        self.data[..bytes].copy_from_slice(&self.staging.slice(..bytes as u64).get_mapped_range()?);
        self.staging.unmap();
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        self.device.poll(PollType::wait_indefinitely())?;
        Ok(())
    }
}

fn pipeline(device: &Device, shader: &'static str, buffers: &[Buffer]) -> (ComputePipeline, BindGroup) {
    let module = device.create_shader_module(ShaderModuleDescriptor { label: None, source: ShaderSource::Wgsl(shader.into()) });
    let pipeline = device.create_compute_pipeline(&ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: Default::default(),
        cache: None,
    });
    let resources = buffers.iter().map(Buffer::as_entire_binding).enumerate();
    let entries: Vec<_> = resources.map(|(at, resource)| BindGroupEntry { binding: at as u32, resource }).collect();
    let layout = pipeline.get_bind_group_layout(0);
    let bindings = device.create_bind_group(&BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
    (pipeline, bindings)
}
