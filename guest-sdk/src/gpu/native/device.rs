//! wgpu, for calls that were checked.

use wgpu::BufferUsages;

use super::super::{Error, Limits, Record};

/// Invocations of a workgroup in one dimension, where a job may not have more in all.
const WORKGROUP_SIDE_MAX: u32 = 256;

/// A GPU, and what it has not begun.
#[derive(Debug)]
pub(super) struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    recorded: Option<wgpu::CommandEncoder>,
}

impl Device {
    /// The machine's GPU, with these limits.
    pub(super) fn open(limits: &Limits) -> Result<Self, Error> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = pollster::block_on(wgpu::util::initialize_adapter_from_env_or_default(&instance, None))
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let descriptor = wgpu::DeviceDescriptor { required_limits: required(limits), ..wgpu::DeviceDescriptor::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| Error::Unavailable(format!("{}: {error}", adapter.get_info().name)))?;
        Ok(Self { device, queue, recorded: None })
    }

    /// A buffer of zeros.
    pub(super) fn buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.make(bytes, BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_SRC | BufferUsages::COPY_DST)
    }

    pub(super) fn pipeline(&self, wgsl: &str, entry: &str) -> Result<wgpu::ComputePipeline, Error> {
        let refused = |error: wgpu::Error| Err(Error::Shader(error.to_string()));
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let source = wgpu::ShaderSource::Wgsl(wgsl.into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let internal = pollster::block_on(internal.pop());
        let validation = pollster::block_on(validation.pop());
        validation.or(internal).map_or(Ok(pipeline), refused)
    }

    /// A write begins at once, before what is recorded later and after what was recorded before.
    pub(super) fn write(&mut self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        self.submit();
        self.queue.write_buffer(buffer, offset, bytes);
    }

    pub(super) fn copy(&mut self, (from, from_offset): (&wgpu::Buffer, u64), (to, to_offset): (&wgpu::Buffer, u64), bytes: u64) {
        self.recorder().copy_buffer_to_buffer(from, from_offset, to, to_offset, bytes);
    }

    pub(super) fn dispatch(&mut self, pipeline: &wgpu::ComputePipeline, bound: &[(&Record, &wgpu::Buffer)], [x, y, z]: [u32; 3]) {
        let group = (!bound.is_empty()).then(|| self.bind_group(pipeline, bound));
        let mut pass = self.recorder().begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        if let Some(group) = &group {
            pass.set_bind_group(0, group, &[]);
        }
        pass.dispatch_workgroups(x, y, z);
    }

    /// Begins what was recorded.
    pub(super) fn submit(&mut self) {
        self.queue.submit(self.recorded.take().map(wgpu::CommandEncoder::finish));
    }

    /// Waits until all that was recorded is done.
    pub(super) fn finish(&mut self) {
        self.submit();
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("nothing else waits for this GPU");
    }

    pub(super) fn read(&mut self, buffer: &wgpu::Buffer, offset: u64, bytes: &mut [u8]) {
        if bytes.is_empty() {
            return self.finish();
        }
        let landing = self.make(bytes.len() as u64, BufferUsages::MAP_READ | BufferUsages::COPY_DST);
        self.copy((buffer, offset), (&landing, 0), bytes.len() as u64);
        self.submit();
        landing.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("the copy is done"));
        self.finish();
        bytes.copy_from_slice(&landing.get_mapped_range(..).expect("it was mapped"));
    }

    fn make(&self, bytes: u64, usage: BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false })
    }

    fn bind_group(&self, pipeline: &wgpu::ComputePipeline, bound: &[(&Record, &wgpu::Buffer)]) -> wgpu::BindGroup {
        let entries: Vec<_> = bound
            .iter()
            .map(|(record, buffer)| wgpu::BindGroupEntry {
                binding: record.binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: record.offset,
                    size: wgpu::BufferSize::new(record.bytes),
                }),
            })
            .collect();
        let layout = pipeline.get_bind_group_layout(0);
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries })
    }

    fn recorder(&mut self) -> &mut wgpu::CommandEncoder {
        let device = &self.device;
        self.recorded.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }
}

/// What the adapter must be able to do: WebGPU's defaults, beside what the job asks.
fn required(limits: &Limits) -> wgpu::Limits {
    wgpu::Limits {
        max_buffer_size: limits.buffer,
        max_storage_buffer_binding_size: limits.buffer,
        max_compute_invocations_per_workgroup: limits.invocations,
        max_compute_workgroup_size_x: limits.invocations.max(WORKGROUP_SIDE_MAX),
        max_compute_workgroup_size_y: limits.invocations.max(WORKGROUP_SIDE_MAX),
        max_compute_workgroup_storage_size: limits.workgroup_memory,
        ..wgpu::Limits::default()
    }
}
